"""The library behind each runtime, and whether it is still the version that made a package."""

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = {"onnx": "onnxruntime", "litert": "ai-edge-litert", "saved_model": "tensorflow"}
"""Runtime to its library."""


def others(runtime: str, made_with: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each library of a runtime, NumPy included, that differs here: its name, the version then and the version now.

    Args:
        made_with: library to version; one that is not listed differs from nothing.
    """
    for library in ("numpy", LIBRARIES[runtime]):
        made = made_with.get(library)
        try:
            here = version(library)
        except PackageNotFoundError:
            here = "no version that can be told"
        if made and made != here:
            yield library, made, here
