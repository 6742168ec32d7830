"""The train stage over digits and a study of three trials."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from tasks.core.artifacts import Manifest
from tasks.core.stages import Context, Outcome, execute
from tests.digits import Platform, open_platform, project
from tests.stages import stage

ROWS = 240
TARGET = "tasks.training.train:train"
PARAMS = {"model.dropout": 0.4, "training.learning_rate": 0.01, "model.units": [24]}
OVERRIDES = {"training.ranks": 2, "training.epochs": 6, "model.family": "convnet", "model.filters": [4]}
TRIALS = [
    {"number": 0, "params": {"model.units": [12]}, "value": 0.5, "loss": 1.0, "state": "COMPLETE", "epochs": 2},
    {"number": 1, "params": PARAMS, "value": 0.75, "loss": 1.0, "state": "COMPLETE", "epochs": 2},
    {"number": 2, "params": {"model.units": [16]}, "value": 0.9, "loss": 1.0, "state": "PRUNED", "epochs": 1},
]


@stage("tune", "description", reproducible=False)
def _study(ctx: Context) -> Outcome:
    return Outcome(metrics={"study": "digits", "trials": json.loads(ctx.spec.description)})


def run_train(
    overrides: Mapping[str, Any] = OVERRIDES,
    tell: Callable[[str], None] | None = None,
    platform: Platform | None = None,
) -> Manifest:
    """Executes the stage under UPDRAFT_HOME; of the trials, number 1 is the best.

    Args:
        overrides: dotted fields of the spec.
        tell: receives the log's lines.
    """
    platform, spec = platform or open_platform(), project(overrides)
    study = spec.model_copy(update={"description": json.dumps(TRIALS)})
    tune = execute(_study, study, {}, store=platform.store, registry=platform.registry)
    with _told(tell or (lambda line: None)):
        return platform.run(TARGET, spec, tune=[tune], **platform.data(spec, ROWS))


class _told(logging.Handler):
    """The log's lines while it is entered."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def __enter__(self) -> None:
        log = logging.getLogger("updraft")
        log.addHandler(self)
        log.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("updraft").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())
