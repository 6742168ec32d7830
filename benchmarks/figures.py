"""What a measurement looks like."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Figure:
    """One measured value beside its target.

    Attributes:
        target: ``<= 1.5`` or ``>= 0.97``; empty where there is none.
        against: what it was measured against in the same run.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    against: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if not self.target:
            return None
        sign, bound = self.target.split()
        return _COMPARE[sign](self.value, float(bound))
