"""Small drawings inside the model card's tables, as SVG: values with their intervals on a common scale."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _LINE, _PAD = 190, 12, 6


@dataclass(frozen=True)
class Span:
    """A value and how far chance may have moved it.

    Attributes:
        kind: whose it is: the class of its colour in the page's style (``candidate``, ``baseline``, ``champion``).
    """

    kind: str
    value: float | None
    interval: Sequence[float] | None = None

    def ends(self) -> list[float]:
        """The numbers that have to fit into the drawing."""
        return [x for x in (self.value, *(self.interval or ())) if x is not None]


def limits(spans: Sequence[Span]) -> tuple[float, float] | None:
    """A scale that all of them fit into; None where there is nothing to draw."""
    ends = [end for span in spans for end in span.ends()]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    room = (high - low) * 0.05 or max(abs(high), 1e-9) * 0.05
    return low - room, high + room


def draw(spans: Sequence[Span], scale: tuple[float, float] | None, mark: float | None = None) -> Markup:
    """A line for each span, one below the other: its interval as a bar, its value as a dot.

    Args:
        mark: a value to compare with, as a line from top to bottom.
    """
    if scale is None:
        return Markup()
    height = _LINE * len(spans) + 4
    parts = []
    if mark is not None:
        x = _x(mark, scale)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
    for number, span in enumerate(spans):
        y = 2 + _LINE * (number + 0.5)
        if span.interval:
            left, right = (_x(end, scale) for end in span.interval)
            parts.append(f'<line class="bar {span.kind}" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>')
        if span.value is not None:
            parts.append(f'<circle class="dot {span.kind}" cx="{_x(span.value, scale):.1f}" cy="{y}" r="4"/>')
    box = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    # Numbers and the names of this module's callers, nothing from a file or a person: safe as it is.
    return Markup(f'<svg {box} role="img" aria-hidden="true">{"".join(parts)}</svg>')


def _x(value: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return _PAD + (_WIDTH - 2 * _PAD) * (min(max(value, low), high) - low) / (high - low)
