"""Features that suit columns or images, as the spec declares them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.data.infer.columns import Profile
from tasks.data.infer.rules import slug

_VOCABULARY = 100
"""A category of more values is hashed."""

_TERMS = (200, 500, 1_000, 2_000)
"""Sizes of a vocabulary of words: about a third of the texts."""


def table_features(columns: Sequence[Profile]) -> list[dict[str, Any]]:
    """Numbers as they are, small categories by vocabulary and large ones hashed, parts of dates, terms of texts."""
    of = {type: [each for each in columns if each.type == type] for type in ("time", "text", "category")}
    numeric = [each.name for each in columns if each.type in ("number", "boolean")]
    small = [each for each in of["category"] if each.distinct <= _VOCABULARY]
    large = [each.name for each in of["category"] if each.distinct > _VOCABULARY]
    features: list[dict[str, Any]] = []
    if numeric:
        features.append({"kind": "numeric", "columns": numeric, "normalize": {"kind": "z_score"}})
    if small:
        size = max(each.distinct for each in small)
        encode = {"kind": "vocabulary", "size": min(_VOCABULARY, size + 5)}
        features.append({"kind": "categorical", "columns": [each.name for each in small], "encode": encode})
    if large:
        encode = {"kind": "hash", "buckets": 256}
        features.append({"kind": "categorical", "name": "hashed", "columns": large, "encode": encode})
    if of["time"]:
        features.append({"kind": "date_parts", "columns": [each.name for each in of["time"]]})
    return features + _text_features(of["text"])


def image_features(image: Mapping[str, int]) -> list[dict[str, Any]]:
    """Statistics, and gradients in cells of about a sixth of the image."""
    cell = max(2, min(image["height"], image["width"]) // 6)
    return [{"kind": "image_stats"}, {"kind": "hog", "orientations": 9, "cell": cell}]


def _text_features(texts: Sequence[Profile]) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = []
    for number, each in enumerate(texts, 1):
        name = {"name": f"text_{number}_{slug(each.name)}"[:40]} if len(texts) > 1 else {}
        size = next(size for size in _TERMS if 3 * size >= len(each.present) or size == _TERMS[-1])
        features.append({"kind": "text", **name, "column": each.name, "encode": {"kind": "vocabulary", "size": size}})
    if texts:
        features.append({"kind": "text_stats", "columns": [each.name for each in texts]})
    return features
