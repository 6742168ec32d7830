"""Predictions in the request log, the same whatever protocol they were asked by."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.models import Live
from tasks.runtime.baseline import watched
from tasks.runtime.predictor import Inputs
from tasks.runtime.requests import RequestLog, sampled

_FEW = 8
"""Rows of a request whose lines are made before it is answered."""


def record(log: RequestLog, request_id: str, live: Live, inputs: Inputs, answers: Sequence[Mapping[str, Any]]) -> None:
    """Logs each row of a request that the project's sample takes: what was answered, and the features drift looks at.

    Args:
        answers: as `serving.answers.predictions_of` gives them.
    """
    signature = live.signature
    if not sampled(request_id, signature.log_share):
        return
    features = watched(signature.features, inputs.features)
    for index, answer in enumerate(answers):
        entry = {
            "kind": "prediction",
            "request_id": request_id,
            "index": index,
            "version": live.version,
            **{name: answer[name] for name in ("label", "probability", "value") if name in answer},
            "features": {group: values[index] for group, values in features.items()},
        }
        log.append(signature.project, entry, days=signature.log_days, is_one_of_many=len(answers) > _FEW)
