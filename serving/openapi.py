"""The endpoint's description in OpenAPI 3.1, true for every live model: its columns, classes and limits.

Paths name their projects: a tool that reads the document knows what each of them takes and gives.
"""

from collections.abc import Mapping
from typing import Any

from serving.description import describe
from serving.models import Live, Models
from serving.schemas import (
    ERROR,
    array,
    entities_request,
    explanation,
    feedback_request,
    images_request,
    prediction,
    record,
    rows_request,
)

Json = dict[str, Any]

_ABOUT = (
    "Deep-learning models as they were trained, judged and promoted. Every error is one JSON shape with a stable "
    "`code`, a `message` that says what to do, and the `request_id` that the log knows. Name a request yourself with "
    "the header `X-Request-ID`. Where keys are required, send one as `Authorization: Bearer` or as `X-API-Key`."
)
_ERRORS = {
    400: "The request is not of the form that it announces.",
    401: "It needs a key.",
    403: "The key may not do this.",
    404: "An entity is unknown, or the project is gone.",
    408: "The body did not arrive in time.",
    413: "The body, or the number of rows in it, is too large.",
    415: "Nothing of this content type is taken here.",
    422: "Well-formed, but none that this model takes; the message names the row.",
    429: "More requests than the endpoint, or the key, allows; Retry-After says when to come again.",
    503: "No model, or no answer in time.",
}
_ASKED = (400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
_TOLD = (400, 401, 403, 404, 408, 413, 422, 429, 503)
_READ = (404, 503)


def document(models: Models) -> Json:
    """The OpenAPI document of what is live now."""
    live = [found for name in models.names() if (found := models.live(name))]
    paths = {path: item for each in live for path, item in _paths(each).items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Updraft", "version": "1", "description": _ABOUT},
        "tags": [{"name": each.signature.project, "description": _tagline(each)} for each in live],
        "paths": {**_platform(), **paths},
        "components": {
            "schemas": {"Error": ERROR},
            "responses": {f"Error{status}": _error(status) for status in _ERRORS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _paths(live: Live) -> Json:
    signature, project = live.signature, live.signature.project
    base, one = f"/v1/{project}", "an image" if signature.image else "a row"
    top_k = {"name": "top_k", "in": "query", "description": "How many classes to list.", "schema": _WHOLE}
    label = {"name": "label", "in": "query", "description": "The class to explain; else the likeliest."}
    classes = bool(signature.classes)
    asked = _asked(live)
    given = {"description": "The truth.", "required": True, "content": _json(feedback_request(signature))}
    return {
        base: {"get": _operation(live, "describe", "What the live model is.", 200, _described(live), _READ)},
        f"{base}/predict": {
            "post": {
                **_operation(live, "predict", f"Ask about one or more: {one} each.", 200, _predictions(live), _ASKED),
                "parameters": [top_k] if classes else [],
                "requestBody": asked,
            }
        },
        f"{base}/explain": {
            "post": {
                **_operation(live, "explain", f"Why {one} is answered so.", 200, _explanations(live), _ASKED),
                "parameters": [{**label, "schema": {"enum": list(signature.classes)}}] if classes else [],
                "requestBody": asked,
            }
        },
        f"{base}/feedback": {
            "post": {
                **_operation(live, "feedback", "Tell the truth about an earlier request.", 202, _accepted(live), _TOLD),
                "requestBody": given,
            }
        },
    }


_TRIAL: Json = {
    "version": {"type": "integer"},
    "mode": {"enum": ["shadow", "canary"]},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
}
_WHOLE = {"type": "integer", "minimum": 1, "maximum": 999_999_999}


def _operation(live: Live, name: str, summary: str, status: int, answer: Json, errors: tuple[int, ...]) -> Json:
    project = live.signature.project
    failures = {str(each): {"$ref": f"#/components/responses/Error{each}"} for each in errors}
    operation = {
        "operationId": f"{name}_{project}",
        "tags": [project],
        "summary": summary,
        "responses": {str(status): {"description": "The answer.", "content": _json(answer)}, **failures},
    }
    # An empty requirement: a laptop's endpoint takes requests without a key.
    return operation if name == "describe" else {**operation, "security": [{"bearer": []}, {"key": []}, {}]}


def _asked(live: Live) -> Json:
    signature = live.signature
    if signature.image is None:
        schema = {"oneOf": [rows_request(signature), entities_request()]} if signature.view else rows_request(signature)
        example = describe(live)["example"]
        content: Json = {"application/json": {"schema": schema, "example": {"instances": [example]}}}
    else:
        picture: Json = {"schema": {}}
        form = record({"file": array({"type": "string", "contentMediaType": "application/octet-stream"})}, ("file",))
        content = {
            **dict.fromkeys(("image/png", "image/jpeg", "application/octet-stream"), picture),
            "multipart/form-data": {"schema": form},
            **_json(images_request()),
        }
    return {"required": True, "content": content}


def _answered(live: Live, name: str, items: Json) -> Json:
    fields = {
        "project": {"const": live.signature.project},
        "version": {"type": ["integer", "string"]},
        "request_id": {"type": "string"},
        name: array(items),
    }
    return record(fields, tuple(fields))


def _predictions(live: Live) -> Json:
    return _answered(live, "predictions", prediction(live.signature))


def _explanations(live: Live) -> Json:
    return _answered(live, "explanations", explanation(live.signature))


def _accepted(live: Live) -> Json:
    asked = feedback_request(live.signature)["properties"]
    fields = {"project": {"const": live.signature.project}, **asked, "accepted": {"const": True}}
    return record(fields, tuple(fields))


def _described(live: Live) -> Json:
    found = describe(live)
    fixed = {name: {"const": found[name]} for name in ("project", "task")}
    return record({name: fixed.get(name, {}) for name in found}, tuple(found))


def _platform() -> Json:
    """What is no project's."""
    versions = {"type": "object", "additionalProperties": {"type": ["integer", "string", "null"]}}
    index = {"service": {"const": "updraft"}, "projects": versions}
    index["challengers"] = {"type": "object", "additionalProperties": record(_TRIAL, tuple(_TRIAL))}
    ready = {"status": {"const": "ready"}, "projects": versions}
    text: Json = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/": _read("index", "The projects and their versions; null: none, or it changes.", _record(index)),
        "/livez": _read("live", "Whether a worker answers.", _record({"status": {"const": "live"}})),
        "/readyz": _read("ready", "Whether every champion that there is answers.", _record(ready), 503),
        "/metrics": _read("metrics", "Figures, as Prometheus reads them.", text),
        "/openapi.json": _read("openapi", "This document.", _json({"type": "object"})),
    }


def _read(name: str, summary: str, content: Json, *errors: int) -> Json:
    failures = {str(each): {"$ref": f"#/components/responses/Error{each}"} for each in errors}
    answer = {"description": "The answer.", "content": content}
    return {"get": {"operationId": name, "summary": summary, "responses": {"200": answer, **failures}}}


def _record(fields: Json) -> Json:
    return _json(record(fields, tuple(fields)))


def _error(status: int) -> Json:
    return {"description": _ERRORS[status], "content": _json({"$ref": "#/components/schemas/Error"})}


def _json(schema: Mapping[str, Any]) -> Json:
    return {"application/json": {"schema": schema}}


def _tagline(live: Live) -> str:
    task = f"{live.signature.task} of {'images' if live.signature.image else 'rows of a table'}"
    return f"Version {live.version}: {task}."
