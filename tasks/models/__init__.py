"""Model families, one per file; each offers ``build(spec, classes, features)`` and passes the same conformance tests.

Every model takes ``{"image": uint8 (H, W, C), "features": float32 (D,)}``, of a table ``features`` alone, and gives
logits, float32 (classes,).
"""

from collections.abc import Callable, Mapping

import keras

from tasks.core.spec import Project
from tasks.models import convnet, mlp

FAMILIES: Mapping[str, Callable[[Project, int, int], keras.Model]] = {"convnet": convnet.build, "mlp": mlp.build}
"""Named one by one and imported above, so that a family's code is part of the cache keys of what trains it."""


def build_model(spec: Project, features: int) -> keras.Model:
    """The untrained model of ``spec.model.family``.

    Args:
        features: width D of the transformed feature vector.
    """
    return FAMILIES[spec.model.family](spec, len(spec.classes), features)
