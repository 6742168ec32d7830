"""What the families share: inputs, layers as the spec wants them, and the dense layers with the head.

Layers have names of their own, the same in every build: transfer learning finds them by name.
"""

import math

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project

HE = "he_normal"
"""Initial kernels that keep the variance through rectifiers: He et al., "Delving Deep into Rectifiers" (2015)."""


def inputs(spec: Project, layout: Layout) -> dict[str, keras.KerasTensor]:
    """The inputs by name: ``image`` uint8 (H, W, C), as decoded, if rows are images, and ``features`` float32 (D,),
    already transformed."""
    image = {"image": keras.Input(spec.image.shape, dtype="uint8", name="image")} if spec.image else {}
    return image | {"features": keras.Input((layout.width,), dtype="float32", name="features")}


def pixels(image: keras.KerasTensor) -> keras.KerasTensor:
    """The image scaled to [0, 1]; float32 whatever the precision, so that it is rounded once."""
    return layers.Rescaling(1 / 255, dtype="float32", name="pixels")(image)


def regularizer(spec: Project) -> keras.regularizers.Regularizer | None:
    """The penalty on every kernel: L1, L2, or both (elastic: Zou and Hastie, 2005); None where the spec has none."""
    model = spec.model
    return keras.regularizers.L1L2(model.l1, model.l2) if model.l1 or model.l2 else None


def normalized(spec: Project, maps: keras.KerasTensor, default: str, name: str) -> keras.KerasTensor:
    """The normalization that the spec asks for, over the last axis.

    Args:
        default: what the family was published with; taken where the spec says nothing.
        name: the layer's.
    """
    return normalization(spec, maps.shape[-1], default, name)(maps)


def normalization(spec: Project, channels: int, default: str, name: str) -> layers.Layer:
    """The layer of `normalized`, for so many ``channels``.

    Batch (Ioffe and Szegedy, 2015), layer (Ba et al., 2016) or group (Wu and He, 2018), the last with 32 groups, or
    fewer where that would leave less than 4 channels to one.
    """
    match spec.model.normalization or default:
        case "batch":
            # Keras' 0.99 has not seen enough after the few hundred steps that a small data set takes.
            return layers.BatchNormalization(momentum=0.9, name=name)
        case "layer":
            return layers.LayerNormalization(name=name)
        case "group":
            return layers.GroupNormalization(_groups(channels), name=name)
    return layers.Identity(name=name)


def _groups(channels: int) -> int:
    return next(groups for groups in range(max(1, min(32, channels // 4)), 0, -1) if channels % groups == 0)


def activated(spec: Project, maps: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """The spec's activation."""
    return layers.Activation(spec.model.activation, name=name)(maps)


def dropped(spec: Project, maps: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Dropout, if the spec has any: Srivastava et al. (2014)."""
    return layers.Dropout(spec.model.dropout, name=name)(maps) if spec.model.dropout else maps


def convolution(
    spec: Project, maps: keras.KerasTensor, filters: int, kernel: int, default: str, name: str, strides: int = 1
) -> keras.KerasTensor:
    """A convolution that keeps the size (over ``strides``), normalization and activation.

    Args:
        kernel: side, in pixels.
        default: normalization that the family was published with.
        name: prefix of the layers' names.
    """
    maps = convolved(spec, maps, filters, kernel, name, strides, bias=(spec.model.normalization or default) == "none")
    return activated(spec, normalized(spec, maps, default, f"{name}_norm"), f"{name}_activation")


def convolved(
    spec: Project, maps: keras.KerasTensor, filters: int, kernel: int, name: str, strides: int = 1, *, bias: bool
) -> keras.KerasTensor:
    """The convolution alone; ``bias`` is for one that no normalization follows."""
    return layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=bias,
        kernel_initializer=HE,
        kernel_regularizer=regularizer(spec),
        name=f"{name}_conv",
    )(maps)


def pooled(maps: keras.KerasTensor, name: str, size: int = 2) -> keras.KerasTensor:
    """Max pooling of stride 2; none where one pixel is left in either direction."""
    if min(maps.shape[1:3]) == 1:
        return maps
    return layers.MaxPooling2D(size, 2, padding="same" if size > 2 else "valid", name=name)(maps)


def flattened(maps: keras.KerasTensor, side: int = 7) -> keras.KerasTensor:
    """Maps as a vector; larger ones are first averaged down to ``side`` pixels, or it would grow with the image."""
    height, width = (math.ceil(length / side) for length in maps.shape[1:3])
    if height > 1 or width > 1:
        maps = layers.AveragePooling2D((height, width), padding="same", name="shrink")(maps)
    return layers.Flatten(name="flatten")(maps)


def attention(
    spec: Project, tokens: keras.KerasTensor, name: str, mask: keras.KerasTensor | None = None
) -> keras.KerasTensor:
    """One layer of a Transformer encoder, normalized before each half as in Dosovitskiy et al. (2021).

    Self-attention of ``spec.model.heads`` heads, then two dense layers, the inner one four times as wide; a sum
    bridges each.

    Args:
        tokens: (T, ``spec.model.width``).
        mask: boolean (1, T), what is to be attended to; None: everything.
    """
    model, penalty = spec.model, regularizer(spec)
    heads = layers.MultiHeadAttention(
        model.heads, model.width // model.heads, kernel_regularizer=penalty, name=f"{name}_attention"
    )
    seen = normalized(spec, tokens, "layer", f"{name}_attention_norm")
    tokens = layers.Add(name=f"{name}_attended")(
        [tokens, dropped(spec, heads(seen, seen, attention_mask=mask), f"{name}_attention_dropout")]
    )
    inner = normalized(spec, tokens, "layer", f"{name}_dense_norm")
    inner = layers.Dense(4 * model.width, kernel_regularizer=penalty, name=f"{name}_dense1")(inner)
    inner = dropped(spec, activated(spec, inner, f"{name}_activation"), f"{name}_dense1_dropout")
    inner = layers.Dense(model.width, kernel_regularizer=penalty, name=f"{name}_dense2")(inner)
    return layers.Add(name=f"{name}_out")([tokens, dropped(spec, inner, f"{name}_dense2_dropout")])


def joined(vector: keras.KerasTensor, features: keras.KerasTensor) -> keras.KerasTensor:
    """What was seen in the image, and the features beside it."""
    return layers.Concatenate(name="joined")([vector, features])


def classifier(spec: Project, vector: keras.KerasTensor, *, drop_each: bool = False) -> keras.KerasTensor:
    """Dense layers of ``spec.model.units``, dropout, and the linear head: a vector to ``spec.outputs`` numbers.

    The head computes in float32 whatever the precision: the loss takes exponentials of what it gives.

    Args:
        drop_each: dropout after each dense layer, not the last alone.
    """
    last = len(spec.model.units)
    for number, width in enumerate(spec.model.units, 1):
        vector = layers.Dense(width, kernel_regularizer=regularizer(spec), name=f"dense{number}")(vector)
        vector = normalized(spec, vector, "none", f"dense{number}_norm")
        vector = activated(spec, vector, f"dense{number}_activation")
        if drop_each and number < last:
            vector = dropped(spec, vector, f"dense{number}_dropout")
    vector = dropped(spec, vector, "dropout")
    return layers.Dense(spec.outputs, kernel_regularizer=regularizer(spec), dtype="float32", name="logits")(vector)
