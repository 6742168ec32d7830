"""JSON schemas (draft 2020-12, as OpenAPI 3.1 has them) of what a model takes and gives."""

from collections.abc import Sequence
from typing import Any

from serving.answers import LARGEST
from serving.payload import MAX_ENTITIES, MAX_IMAGES, MAX_ROWS
from serving.request_ids import REQUEST_ID
from tasks.core.spec import Column
from tasks.runtime.predictor import Signature

Json = dict[str, Any]

_TAKEN: dict[str, tuple[list[str], str]] = {
    "number": (["number", "string"], "A finite number, or one as text."),
    "category": (["string", "number", "boolean"], "A text; a number becomes its shortest digits."),
    "text": (["string", "number", "boolean"], "A text."),
    "time": (["string"], "ISO 8601, such as 2026-01-31T12:00:00Z; UTC if it names no zone."),
    "boolean": (["boolean", "string", "integer"], "true or false; 1, 0, yes and no are read as such, too."),
}
"""Column type to the JSON types that are read as it, and words for people."""

_SPELLED = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
"""A number as text."""

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_NUMBER = {"type": "number"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}


def record(properties: Json, required: Sequence[str], **more: Any) -> Json:
    """An object."""
    return {"type": "object", "properties": properties, "required": list(required), **more}


def array(items: Json, most: int | None = None) -> Json:
    """A list of at least one."""
    return {"type": "array", "items": items, "minItems": 1, **({"maxItems": most} if most else {})}


ERROR = record(
    {
        "error": record(
            {
                "code": {"type": "string", "description": "A word for programs; stable."},
                "message": {"type": "string", "description": "What is wrong, and what to do."},
                "request_id": {"type": "string"},
            },
            ("code", "message", "request_id"),
        )
    },
    ("error",),
)
"""What every error looks like."""


def images_request() -> Json:
    """``{"instances": [{"image": ...}]}``."""
    return record({"instances": array(record({"image": _BASE64}, ("image",)), MAX_IMAGES)}, ("instances",))


def rows_request(signature: Signature) -> Json:
    """``{"instances": [{"<column>": ...}]}``, with the model's columns."""
    columns = signature.columns
    needed = [column.name for column in columns if not column.nullable]
    row = record({c.name: _column(c) for c in columns}, needed, additionalProperties=False)
    return record({"instances": array(row, MAX_ROWS)}, ("instances",))


def entities_request() -> Json:
    """``{"entities": [...]}``."""
    entity = {"type": "string", "minLength": 1, "maxLength": 1000}
    return record({"entities": array(entity, MAX_ENTITIES)}, ("entities",))


def feedback_request(signature: Signature) -> Json:
    """The truth about a row of an earlier request."""
    fields = {
        "request_id": {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"},
        "index": {"type": "integer", "minimum": 0, "maximum": 999_999, "description": "Of the row; 0 if left out."},
        "label": _label(signature) if signature.classes else {**_NUMBER, "minimum": -LARGEST, "maximum": LARGEST},
    }
    return record(fields, ("request_id", "label"))


def prediction(signature: Signature) -> Json:
    """Of one row."""
    entity = {"entity": {"type": "string"}, "event_time": {"type": "string"}, "expired": {"type": "boolean"}}
    beside = entity if signature.view and signature.image is None else {}
    if not signature.classes:
        return record({**beside, "value": _NUMBER}, ("value",))
    ranked = {"label": _label(signature), "probability": _SHARE}
    top = array(record(ranked, tuple(ranked)), len(signature.classes))
    return record({**beside, **ranked, "top": top}, (*ranked, "top"))


def explanation(signature: Signature) -> Json:
    """Of one image or row."""
    answer: Json = {"label": _label(signature), "probability": _SHARE} if signature.classes else {"value": _NUMBER}
    if signature.image is not None:
        grid = {
            **array(array(_NUMBER)),
            "description": "Rows of places: how much less likely the label is when a place is covered.",
        }
        picture = {**_BASE64, "contentMediaType": "image/png", "description": "The grid over the image."}
        fields = {"method": {"const": "occlusion"}, **answer, "grid": grid, "heatmap": picture}
        return record(fields, tuple(fields))
    share = record(
        {"column": {"type": "string"}, "value": {}, "typical": {}, "contribution": _NUMBER}, ("contribution",)
    )
    shares = {"type": "array", "items": share, "description": "They add up to the answer less that of a typical row."}
    fields = {"method": {"const": "shapley"}, **answer, "typical": _NUMBER, "contributions": shares}
    return record({**fields, "words": {"type": "object"}}, tuple(fields))


def _label(signature: Signature) -> Json:
    return {"enum": list(signature.classes)}


def _column(column: Column) -> Json:
    types, words = _TAKEN[column.type]
    spelled = {"pattern": _SPELLED} if column.type == "number" else {}
    return {"type": [*types, *["null"] * column.nullable], **spelled, "description": words}
