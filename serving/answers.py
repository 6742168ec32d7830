"""What is answered and asked beside the rows themselves: predictions as JSON, query parameters, feedback."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request

from serving.errors import Problem
from serving.request_ids import REQUEST_ID
from tasks.runtime.predictor import Signature

LARGEST = float(np.finfo(np.float32).max)
"""Of the numbers that a model can learn."""

_MOST_ROWS = 1_000_000
_SHOWN = 80


def predictions_of(signature: Signature, found: np.ndarray, top_k: int) -> list[dict[str, Any]]:
    """The answer for each row: its likeliest classes, or its number.

    Args:
        found: as `Predictor.predict` gives it, float32 (N, classes) or (N, 1).

    Raises:
        Problem: 422 the model gives no number for a row.
    """
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        message = f"Instance {int(np.argmin(finite))}: the model gives no number for it."
        raise Problem(422, "not_a_number", f"{message} Its values are too far from what the model was trained on.")
    if signature.task == "regression":
        return [{"value": float(row[0])} for row in found]
    order = np.argsort(-found, axis=1, kind="stable")[:, :top_k]
    return [_ranked(signature, row, ranks) for row, ranks in zip(found, order, strict=True)]


def chosen_top_k(request: Request, signature: Signature) -> int:
    """How many classes to list: the query's ``top_k``, or the project's.

    Raises:
        Problem: 400 it is no number from 1, or there are no classes.
    """
    text = request.query_params.get("top_k")
    if text is None:
        return signature.top_k
    if not signature.classes:
        raise Problem(400, "bad_top_k", "This project predicts a number and has no classes. Leave top_k out.")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise Problem(400, "bad_top_k", f"top_k must be a whole number from 1 to {len(signature.classes)}.")
    return min(int(text), len(signature.classes))


def chosen_label(request: Request, signature: Signature) -> str | None:
    """The class to explain: the query's ``label``; None: the likeliest.

    Raises:
        Problem: 422 the project has no such class.
    """
    label = request.query_params.get("label")
    if label is not None and label not in signature.classes:
        raise unknown_label(label, signature)
    return label


def feedback_of(value: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """The truth about an earlier request: its id, the row's index in it, and the label.

    Raises:
        Problem: 400 it is not of that form, 422 the project has no such class.
    """
    about, index = value.get("request_id"), value.get("index", 0)
    label: Any = value.get("label")
    numbers = signature.task == "regression"
    # Not isinstance: to Python, true is the number 1.
    fits = type(label) in (int, float) and abs(label) <= LARGEST if numbers else isinstance(label, str)
    # To JSON, 3.0 is a whole number.
    is_row = type(index) in (int, float) and 0 <= index < _MOST_ROWS and index == int(index)
    if not isinstance(about, str) or not REQUEST_ID.fullmatch(about) or not fits or not is_row:
        shown = "<true number>" if numbers else '"<true label>"'
        wanted = f'Send {{"request_id": "<of the prediction>", "index": <of the row, from 0>, "label": {shown}}}.'
        raise Problem(400, "bad_feedback", wanted)
    if not numbers and label not in signature.classes:
        raise unknown_label(label, signature)
    return {"request_id": about, "index": int(index), "label": label}


def unknown_label(label: str, signature: Signature) -> Problem:
    """The project has no such class; its classes are named."""
    known = ", ".join(signature.classes[:20]) or "none, it predicts a number"
    return Problem(422, "unknown_label", f"{label[:_SHOWN]!r} is no label of this project. Known: {known}.")


def _ranked(signature: Signature, row: np.ndarray, order: np.ndarray) -> dict[str, Any]:
    top = [{"label": signature.classes[n], "probability": float(row[n])} for n in order]
    return {**top[0], "top": top}
