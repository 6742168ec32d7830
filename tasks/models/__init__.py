"""Model families, one per file; each offers ``build(spec, layout)`` and passes the same conformance tests.

Every model takes ``{"image": uint8 (H, W, C), "features": float32 (D,)}``, of a table ``features`` alone, and gives
logits, float32 (classes,), or for a regression the number, float32 (1,).
"""

from collections.abc import Callable, Mapping

import keras

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models import (
    alexnet,
    convnet,
    efficientnet,
    mlp,
    mobilenet,
    recurrent,
    resnet,
    transformer,
    vgg,
    vit,
    wide_and_deep,
)

FAMILIES: Mapping[str, Callable[[Project, Layout], keras.Model]] = {
    "mlp": mlp.build,
    "wide_and_deep": wide_and_deep.build,
    "convnet": convnet.build,
    "alexnet": alexnet.build,
    "vgg": vgg.build,
    "resnet": resnet.build,
    "mobilenet": mobilenet.build,
    "efficientnet": efficientnet.build,
    "lstm": recurrent.lstm,
    "gru": recurrent.gru,
    "transformer": transformer.build,
    "vit": vit.build,
}
"""Named one by one and imported above, so that a family's code is part of the cache keys of what trains it."""


def build_model(spec: Project, layout: Layout) -> keras.Model:
    """The untrained model of ``spec.model.family``.

    Args:
        layout: of the transformed feature vector.
    """
    return FAMILIES[spec.model.family](spec, layout)
