"""What the columns of a table or of a labels file are for, and how clean its rows are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from tasks.core.errors import BadInput
from tasks.core.spec import RESERVED
from tasks.core.store import Files
from tasks.data.infer.classes import Target, find_target
from tasks.data.infer.columns import Profile, find_entity, find_label, find_times, profile
from tasks.data.infer.layout import Layout
from tasks.data.infer.rules import Rule, broken
from tasks.data.infer.sample import Sample, Say, read_sample
from tasks.data.infer.span import Span, find_span

NULLS = 0.01
"""Share of missing values up to which a row without one is taken for a mistake."""

BAD = 0.05
"""Share of bad rows from which missing values are taken for usual."""


@dataclass(frozen=True)
class Table:
    """A table and the parts that its columns play.

    Attributes:
        columns: what features can be made from.
        unused: column to why no feature is made from it.
    """

    sample: Sample
    label: str
    target: Target
    entity: Profile | None
    event_time: Profile | None
    known_time: str | None
    span: Span
    columns: tuple[Profile, ...]
    unused: dict[str, str]

    def nullable(self, rules: Sequence[Rule]) -> frozenset[str]:
        """Columns in which a missing value is no mistake."""
        often = frozenset(each.name for each in self.columns if each.missing.mean() > NULLS)
        if self.bad(rules, often).mean() <= BAD:
            return often
        return frozenset(each.name for each in self.columns if each.missing.any())

    def bad(self, rules: Sequence[Rule], nullable: frozenset[str]) -> np.ndarray:
        """Mask of the kept rows that would be quarantined, as far as a row alone shows it."""
        profiles = {each.name: each for each in (*self.target.profiles, *self.columns)}
        mask = broken(rules, profiles, len(self.sample.rows))
        mask |= self.target.bad(self.sample.column(self.label))
        for each in (self.entity, self.event_time):
            if each is not None:
                mask |= each.missing | each.wrong
        for each in self.columns:
            mask |= each.wrong
            if each.name not in nullable:
                mask |= each.missing
        return mask


def read_table(files: Files, layout: Layout, label: str | None, today: date, say: Say) -> Table:
    """Looks at a table's rows and finds out what its columns are for.

    Raises:
        BadInput: it has no rows or no classes, or the label cannot be told.
    """
    sample = read_sample(files, layout.tables, say)
    if not sample.rows:
        raise BadInput(f"{files.uri}: the table has no rows.", "Give data with rows, and a header or keys.")
    label = find_label(sample, label)
    target = find_target(sample, label)
    profiles = {name: profile(name, sample.column(name)) for name in sample.columns if name != label}
    event, known = find_times(profiles)
    span = find_span(files, layout, sample, profiles[event] if event else None, today)
    event = event if span.timed else None
    entity = find_entity(profiles, event)
    known = known if event and known and _follows(profiles[known], profiles[event]) else None
    others = [found for name, found in profiles.items() if name not in (event, entity, known)]
    unused = {found.name: found.why for found in others if found.why}
    unused |= {found.name: "it has no name" for found in others if not found.name}
    unused |= {found.name: "Updraft itself uses that name" for found in others if found.name in RESERVED}
    columns = tuple(found for found in others if found.name not in unused)
    roles = (profiles.get(entity or ""), profiles.get(event or ""))
    return Table(sample, label, target, *roles, known, span, columns, unused)


def _follows(known: Profile, event: Profile) -> bool:
    pairs = zip(known.values.to_pylist(), event.values.to_pylist(), strict=True)
    return np.mean([later >= earlier for later, earlier in pairs if later and earlier] or [False]) >= 0.98
