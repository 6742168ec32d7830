"""Stages made of functions at hand, for tests; the platform's own are declared in `tasks.core.pipeline`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.pipeline import STEPS
from tasks.core.stages import Context, Outcome, Stage


@dataclass(frozen=True)
class LocalStage(Stage):
    """A stage whose function is given, not named."""

    function: Callable[[Context], Outcome] | None = None
    asked: Callable[[Context], Mapping[str, Any]] | None = None

    def work(self, context: Context) -> Outcome:
        """See `Stage`."""
        assert self.function is not None
        return self.function(context)

    def state(self, context: Context) -> Mapping[str, Any]:
        """See `Stage`."""
        return self.asked(context) if self.asked else {}


def stage(
    name: str,
    *fields: str,
    reproducible: bool = True,
    outside: Callable[[Context], Mapping[str, Any]] | None = None,
) -> Callable[[Callable[[Context], Outcome]], Stage]:
    """Makes the decorated function a stage; see `Stage` for the arguments."""

    def declare(function: Callable[[Context], Outcome]) -> Stage:
        target = f"{function.__module__}:{function.__name__}"
        return LocalStage(name, target, fields, reproducible, function=function, asked=outside)

    return declare


def load_stage(target: str) -> Stage:
    """The platform's stage whose function is ``target``."""
    return next(step.stage for step in STEPS.values() if step.stage.target == target)
