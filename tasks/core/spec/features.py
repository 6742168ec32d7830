"""The spec's features: what is computed from an image or a row, and how the transform graph normalizes it."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.core.spec.base import Name, Section


class ZScore(Section):
    """Mean 0, deviation 1."""

    kind: Literal["z_score"]
    """Selects this normalization."""


class MinMax(Section):
    """From 0 to 1."""

    kind: Literal["min_max"]
    """Selects this normalization."""


class L2(Section):
    """Each row's vector to length 1."""

    kind: Literal["l2"]
    """Selects this normalization."""


class Pca(Section):
    """The directions of most variance (Pearson, 1901)."""

    kind: Literal["pca"]
    """Selects this normalization."""
    components: int = Field(ge=1)
    """Dimensions kept."""


class Bucketize(Section):
    """Quantile buckets, one-hot."""

    kind: Literal["bucketize"]
    """Selects this normalization."""
    buckets: int = Field(10, ge=2, le=1000)
    """Of about equally many training rows."""


class AsIs(Section):
    """As extracted."""

    kind: Literal["none"]
    """Selects this normalization."""


Normalize = Annotated[ZScore | MinMax | L2 | Pca | Bucketize | AsIs, Field(discriminator="kind")]


class Vocabulary(Section):
    """One dimension per value seen in training, the most frequent first, and one for all others."""

    kind: Literal["vocabulary"]
    """Selects this encoding."""
    size: int = Field(100, ge=1)
    """Values kept at most."""


class Hashed(Section):
    """A value's digest chooses its dimension: no vocabulary, and now and then two values share one."""

    kind: Literal["hash"]
    """Selects this encoding."""
    buckets: int = Field(64, ge=2)
    """Dimensions."""


class Sequence(Section):
    """Each word's place in the vocabulary, in the order of the text: what lstm, gru and transformer read."""

    kind: Literal["sequence"]
    """Selects this encoding."""
    size: int = Field(10_000, ge=1)
    """Words kept at most; another one is read as unknown."""
    length: int = Field(128, ge=1, le=4096)
    """Words of a text that are read; a shorter one is padded."""


Encode = Annotated[Vocabulary | Hashed, Field(discriminator="kind")]
EncodeText = Annotated[Vocabulary | Hashed | Sequence, Field(discriminator="kind")]


class FeatureGroup(Section):
    """One extractor; its values stand side by side under one name."""

    kind: str
    """Selects the extractor."""
    name: Name | None = None
    """Needed where a kind stands twice."""

    @property
    def group(self) -> str:
        """The name of its values everywhere: in Feast, in shards, in the transform graph."""
        return self.name or self.kind


class NumericGroup(FeatureGroup):
    """An extractor of numbers."""

    normalize: Normalize = ZScore(kind="z_score")
    """What the transform graph makes of them, fitted on the training split."""


class ImageStats(NumericGroup):
    """Brightness, contrast, sharpness, entropy and ink share of an image."""

    kind: Literal["image_stats"]
    """Selects this extractor."""


class Hog(NumericGroup):
    """Histogram of oriented gradients (Dalal and Triggs, 2005)."""

    kind: Literal["hog"]
    """Selects this extractor."""
    orientations: int = Field(9, ge=2, le=36)
    """Bins of unsigned gradient direction."""
    cell: int = Field(8, ge=2)
    """Side of a square cell, in pixels."""
    block: int = Field(1, ge=1)
    """Side of a normalization block, in cells."""


class Sift(FeatureGroup):
    """Bag of visual words over SIFT descriptors (Lowe, 2004; Csurka et al., 2004), the words fitted in training."""

    kind: Literal["sift"]
    """Selects this extractor."""
    keypoints: int = Field(32, ge=1, le=256)
    """The strongest so many of an image are described."""
    words: int = Field(64, ge=2, le=4096)
    """Size of the codebook, and of the histogram."""


class CnnEmbedding(NumericGroup):
    """What a trained network sees in the image: the output of its last pooling layer."""

    kind: Literal["cnn_embedding"]
    """Selects this extractor."""
    architecture: str
    """A name of keras.applications (``MobileNetV2``), or ``champion``: the project's own."""
    weights: str | None = None
    """The weights file of that architecture without its top (``.h5`` or ``.keras``); relative to UPDRAFT_HOME."""

    @model_validator(mode="after")
    def _weights_given(self) -> Self:
        if (self.weights is None) != (self.architecture == "champion"):
            raise ValueError("give the architecture's weights file; architecture champion takes none")
        return self


class Numeric(NumericGroup):
    """Number and boolean columns as they are; a missing value becomes the training mean."""

    kind: Literal["numeric"]
    """Selects this extractor."""
    columns: tuple[str, ...] = Field(min_length=1)
    """Columns of type number or boolean."""


class Categorical(FeatureGroup):
    """Category columns, each encoded by itself."""

    kind: Literal["categorical"]
    """Selects this extractor."""
    columns: tuple[str, ...] = Field(min_length=1)
    """Columns of type category or boolean."""
    encode: Encode = Vocabulary(kind="vocabulary")
    """How."""


class Crossed(FeatureGroup):
    """Category columns together: each combination of their values is a value."""

    kind: Literal["crossed"]
    """Selects this extractor."""
    columns: tuple[str, ...] = Field(min_length=2)
    """Columns of type category or boolean."""
    encode: Encode = Hashed(kind="hash")
    """How."""


class DateParts(NumericGroup):
    """Year, day of month, and month, weekday and hour as points on a circle."""

    kind: Literal["date_parts"]
    """Selects this extractor."""
    columns: tuple[str, ...] = Field(min_length=1)
    """Columns of type time."""


class TextStats(NumericGroup):
    """Length, words, mean word length, and shares of upper case, digits, punctuation and distinct words."""

    kind: Literal["text_stats"]
    """Selects this extractor."""
    columns: tuple[str, ...] = Field(min_length=1)
    """Columns of type text."""


class TextTerms(FeatureGroup):
    """Words and word n-grams, weighted by tf-idf (Sparck Jones, 1972) or hashed."""

    kind: Literal["text"]
    """Selects this extractor."""
    column: str
    """A column of type text."""
    ngrams: int = Field(1, ge=1, le=3)
    """Longest run of words that counts as a term."""
    encode: EncodeText = Vocabulary(kind="vocabulary", size=1000)
    """How terms become dimensions."""

    @model_validator(mode="after")
    def _words_alone(self) -> Self:
        if isinstance(self.encode, Sequence) and self.ngrams > 1:
            raise ValueError("a sequence is of words: leave ngrams at 1")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """As the other extractors name them."""
        return (self.column,)


ImageFeature = ImageStats | Hog | Sift | CnnEmbedding
TableFeature = Numeric | Categorical | Crossed | DateParts | TextStats | TextTerms
Feature = Annotated[ImageFeature | TableFeature, Field(discriminator="kind")]

_COLUMN_TYPES: Mapping[str, frozenset[str]] = {
    "numeric": frozenset({"number", "boolean"}),
    "categorical": frozenset({"category", "boolean"}),
    "crossed": frozenset({"category", "boolean"}),
    "date_parts": frozenset({"time"}),
    "text_stats": frozenset({"text"}),
    "text": frozenset({"text"}),
}


def check_columns(feature: TableFeature, types: Mapping[str, str]) -> None:
    """Refuses a feature over a column that is not there or of a type it cannot use.

    Args:
        types: the source's columns and their types.

    Raises:
        ValueError: names the feature and the column.
    """
    for name in feature.columns:
        if name not in types:
            raise ValueError(f"features: {feature.group}: source.columns has no {name!r}; it has {', '.join(types)}")
        if types[name] not in _COLUMN_TYPES[feature.kind]:
            raise ValueError(
                f"features: {feature.group}: {name} is a {types[name]} column, which {feature.kind} cannot use"
            )
