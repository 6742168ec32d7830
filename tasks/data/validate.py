"""The data gate: clean rows pass, the others go to quarantine with their reasons, and too many of those stop it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.artifacts import Rows
from tasks.core.errors import Refused
from tasks.core.stages import Context, Outcome, stage
from tasks.data.expectations import Finding, build_suite, evaluate
from tasks.data.quarantine import Rejected, replay_command, to_jsonl, write_quarantine


@stage("validate", "classes", "validation")
def validate(ctx: Context) -> Outcome:
    """Checks the ingested rows and publishes the clean ones as ``rows.parquet``, the others as ``rejected.jsonl``.

    Beside the artifact: the quarantine (`tasks.data.quarantine`) and the partition's Data Docs page, both written
    before the share of bad rows is judged. The page holds timestamps, so it is no part of the artifact.

    Raises:
        Refused: more rows than ``validation.tolerated`` are bad.
        StageFailed: a rule could not be evaluated.
    """
    assert ctx.partition is not None
    table = pq.read_table(ctx.file(ctx.input("ingest"), "rows.parquet"))
    frame = table.to_pandas()
    findings, page = evaluate(build_suite(ctx.spec, date.fromisoformat(ctx.partition)), frame)
    breaches = _breaches(findings, frame.set_index("row_id", drop=False))
    bad = pc.is_in(table["row_id"], pa.array(list(breaches), pa.int64()))
    replay = replay_command(ctx.spec.name, ctx.partition)
    rejected = [_reject(row, breaches[row["row_id"]], replay) for row in table.filter(bad).to_pylist()]
    quarantine = write_quarantine(ctx.store, ctx.spec.name, ctx.partition, rejected)
    docs = f"{ctx.spec.name}/data_docs/date={ctx.partition}/index.html"
    ctx.store.write_bytes(docs, page.encode())
    reasons = Counter(item.reason for item in rejected)
    _judge(ctx, table.num_rows, reasons, quarantine)
    clean = table.filter(pc.invert(bad)).drop_columns("defect")
    pq.write_table(clean, ctx.out / "rows.parquet")
    (ctx.out / "rejected.jsonl").write_bytes(to_jsonl(rejected))
    return Outcome(
        rows=Rows(received=table.num_rows, published=clean.num_rows, quarantined=len(rejected)),
        reasons=reasons,
        metrics={"expectations": len(findings), "quarantine": quarantine, "data_docs": docs},
    )


def _breaches(findings: Sequence[Finding], frame: pd.DataFrame) -> dict[int, list[tuple[str, str]]]:
    """Reason and rule of all that a bad row breaks, worst first, by ``row_id``, which ``frame`` is indexed by."""
    found: dict[int, list[tuple[str, str]]] = {}
    for finding in findings:
        unique = finding.reason.startswith("duplicate_")
        for row in _repeats(frame[finding.column], finding.rows, found) if unique else finding.rows:
            reason = str(frame["defect"][row]) if finding.reason == "defect" else finding.reason
            found.setdefault(row, []).append((reason, finding.rule))
    return found


def _repeats(values: pd.Series, rows: list[int], broken: Mapping[int, Any]) -> list[int]:
    """Of rows that share their value with others, all but the first sound one of each value."""
    kept, repeats = set(), []
    for row in rows:
        if row not in broken and values[row] not in kept:
            kept.add(values[row])
        else:
            repeats.append(row)
    return repeats


def _reject(row: Mapping[str, Any], breaches: Sequence[tuple[str, str]], replay: str) -> Rejected:
    values = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    reason, rule = breaches[0]
    return Rejected(values, rule, reason, list(dict.fromkeys(code for code, _ in breaches)), replay)


def _judge(ctx: Context, received: int, reasons: Counter[str], quarantine: str) -> None:
    """Raises `Refused` when more rows are bad than the spec tolerates."""
    bad, tolerated = reasons.total(), ctx.spec.validation.tolerated
    if not bad or bad / received <= tolerated:
        return
    share = f"{bad} of {received} rows ({bad / received:.1%}) are bad, more than the tolerated {tolerated:.1%}"
    worst = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    message = f"{ctx.spec.name} {ctx.partition}: {share}: {worst}. They stand in {ctx.store.uri}/{quarantine}."
    replay = replay_command(ctx.spec.name, str(ctx.partition))
    raise Refused(message, f"Correct the source, or raise validation.tolerated; then: {replay}")
