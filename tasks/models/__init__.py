"""Model families, one per file; each offers ``build(spec, layout)`` and passes the same conformance tests.

Every model takes ``{"image": uint8 (H, W, C), "features": float32 (D,)}``, of a table ``features`` alone, and gives
logits, float32 (classes,), or for a regression the number, float32 (1,).
"""

from collections.abc import Callable, Mapping

import keras

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models import convnet, mlp

FAMILIES: Mapping[str, Callable[[Project, Layout], keras.Model]] = {"convnet": convnet.build, "mlp": mlp.build}
"""Named one by one and imported above, so that a family's code is part of the cache keys of what trains it."""


def build_model(spec: Project, layout: Layout) -> keras.Model:
    """The untrained model of ``spec.model.family``.

    Args:
        layout: of the transformed feature vector.
    """
    return FAMILIES[spec.model.family](spec, layout)
