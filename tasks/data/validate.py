"""The data gate: clean rows pass, the others go to quarantine with their reasons, and too many of those stop it."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations.core import ExpectationSuiteValidationResult

from tasks.core.artifacts import Rows
from tasks.core.errors import Refused, StageFailed
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome
from tasks.data.checkpoint import Finding, run_checkpoint
from tasks.data.data_docs import render_page
from tasks.data.expectations import ADDED, HIDDEN, NEAR, kinds, rules_for
from tasks.data.quarantine import docs_path, quarantine_path, replay_command, write_quarantine
from tasks.data.rules import Verdicts

SAMPLE = 10_000
"""Rows that Great Expectations sees of a partition, at least if it has so many."""

BATCH = 65_536
"""Rows read at a time."""

log = logging.getLogger("updraft")


def validate(ctx: Context) -> Outcome:
    """Checks the ingested rows and publishes the clean ones as ``rows.parquet``, the others as ``rejected.jsonl``.

    DuckDB judges all rows; Great Expectations judges a sample by the same rules, which has to agree, and what DuckDB
    cannot. Beside the artifact: the quarantine and the Data Docs page (`tasks.data.quarantine`), both written before
    the share of bad rows is judged. The page holds timestamps, so it is no part of the artifact.

    Raises:
        Refused: more rows than ``validation.tolerated`` are bad, or a rule about the whole table does not hold.
        BadInput: an expectation of the project's suite cannot be used.
        StageFailed: Great Expectations and DuckDB disagree about a row.
    """
    assert ctx.partition is not None
    source = ctx.file(ctx.input("ingest"), "rows.parquet")
    rules = rules_for(ctx.spec, date.fromisoformat(ctx.partition), kinds(pq.read_schema(source)))
    added = _added(ctx)
    with Verdicts(source, rules, added, ctx.work) as verdicts:
        verdicts.scan()
        whole, broken = _evaluate_whole(ctx, verdicts, source)
        verdicts.deduplicate(ctx.spec.validation.near_duplicate_bits)
        reasons = verdicts.conclude()
        bad, sample = verdicts.bad(), verdicts.sample(SAMPLE)
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(_write_clean, ctx.spec, source, ctx.out / "rows.parquet", bad)
            seen = _evaluate_sample(ctx, verdicts, sample, added)
            written.result()
        verdicts.write(ctx.out / "rejected.jsonl", replay_command(ctx.spec.name, ctx.partition))
    page = render_page(f"{ctx.spec.name} {ctx.partition}", {_covered(len(sample), len(bad)): seen} | whole)
    write_quarantine(ctx, ctx.out / "rejected.jsonl", page)
    _judge(ctx, len(bad), reasons, broken)
    metrics = {
        "expectations": len(rules),
        "sample": len(sample),
        "quarantine": quarantine_path(ctx.spec.name, ctx.partition),
        "data_docs": docs_path(ctx.spec.name, ctx.partition),
    }
    quarantined = int(bad.sum())
    return Outcome(Rows(received=len(bad), published=len(bad) - quarantined, quarantined=quarantined), reasons, metrics)


def _added(ctx: Context) -> str | None:
    """The columns that the spec does not know, if they are a fault."""
    added = ctx.input("ingest").metrics.get("schema", {}).get("added", ())
    if added and ctx.spec.validation.added_columns == "warn":
        log.warning(
            "%s %s: the source has columns that the spec does not know: %s", ctx.spec.name, ctx.partition, added
        )
        return None
    return ", ".join(added) or None


def _evaluate_whole(
    ctx: Context, verdicts: Verdicts, source: Path
) -> tuple[dict[str, ExpectationSuiteValidationResult], list[Finding]]:
    """Lets Great Expectations evaluate what DuckDB cannot, on all rows: the validation, and what does not hold."""
    if not verdicts.foreign:
        return {}, []
    findings, result = run_checkpoint(ctx.spec, verdicts.foreign, _frame(pq.read_table(source), None, {}))
    for finding in findings:
        verdicts.add(finding.rule, finding.rows)
    covered = f"All {verdicts.count} rows, the rules that Great Expectations evaluates by itself"
    return {covered: result}, [finding for finding in findings if finding.broken is not None]


def _evaluate_sample(
    ctx: Context, verdicts: Verdicts, sample: np.ndarray, added: str | None
) -> ExpectationSuiteValidationResult:
    """Lets Great Expectations evaluate the rules on the sample, and holds both engines' findings side by side."""
    foreign = {rule.number for rule in verdicts.foreign}
    rules = [rule for rule in verdicts.rules if rule.number not in foreign]
    frame = _frame(verdicts.rows(sample), added, verdicts.near(sample))
    findings, result = run_checkpoint(ctx.spec, rules, frame)
    for finding in findings:
        other = sorted(set(finding.rows) ^ set(verdicts.expected(finding.rule, sample)))
        if other or finding.broken is not None:
            where = f"{ctx.spec.name} {ctx.partition}: {finding.rule.name}"
            rows = ", ".join(map(str, other[:5]))
            message = f"{where}: Great Expectations and DuckDB disagree about {len(other)} rows ({rows})."
            raise StageFailed(message, "Report this, with these rows.")
    return result


def _write_clean(spec: Project, source: Path, clean: Path, bad: np.ndarray) -> None:
    """Writes the rows that are not ``bad``, a piece at a time."""
    # Looking for repeated values where there are hardly any takes half of the time.
    repeating = ["label", *(column.name for column in spec.source.columns if column.type == "category")]
    with pq.ParquetFile(source) as file:
        schema = pa.schema([field for field in file.schema_arrow if field.name not in ("defect", "detail")])
        with pq.ParquetWriter(clean, schema, use_dictionary=repeating) as writer:
            for batch in file.iter_batches(BATCH):
                kept = pa.array(~bad[batch["row_id"].to_numpy()])
                writer.write_batch(batch.select(schema.names).filter(kept))


def _frame(table: pa.Table, added: str | None, near: Mapping[int, int]) -> pd.DataFrame:
    """The rows as Great Expectations gets them, with the columns that validation makes itself."""
    repeats = pa.array(
        [near.get(row) for row in table["row_id"].to_pylist()] if near else [None] * len(table), pa.int64()
    )
    table = table.drop_columns([name for name in HIDDEN if name in table.schema.names])
    table = table.append_column(ADDED, pa.array([added] * len(table), pa.string())).append_column(NEAR, repeats)
    return table.to_pandas()


def _covered(sampled: int, count: int) -> str:
    if sampled == count:
        return f"All {count} rows"
    return f"{sampled} of {count} rows: of each rule that is broken, the rows that these repeat, and evenly spaced ones"


def _judge(ctx: Context, received: int, reasons: Mapping[str, int], broken: Sequence[Finding]) -> None:
    """Raises `Refused` when more rows are bad than the spec tolerates, or the table as a whole is."""
    bad, tolerated = sum(reasons.values()), ctx.spec.validation.tolerated
    faults = [f"{finding.rule.name} does not hold (observed: {finding.broken})" for finding in broken]
    if bad and bad / received > tolerated:
        share = f"{bad} of {received} rows ({bad / received:.1%}) are bad, more than the tolerated {tolerated:.1%}"
        worst = ", ".join(f"{count} {reason}" for reason, count in list(reasons.items())[:5])
        quarantine = quarantine_path(ctx.spec.name, str(ctx.partition))
        faults.append(f"{share}: {worst}{_drift(ctx)}. They stand in {ctx.store.uri}/{quarantine}")
    if faults:
        replay = replay_command(ctx.spec.name, str(ctx.partition))
        fix = f"Correct the source, or change the suite or validation.tolerated; then: {replay}"
        raise Refused(f"{ctx.spec.name} {ctx.partition}: {'; '.join(faults)}.", fix)


def _drift(ctx: Context) -> str:
    """The columns that changed, as the end of a sentence."""
    schema = ctx.input("ingest").metrics.get("schema", {})
    changes = [f"{kind} {', '.join(schema[kind])}" for kind in ("removed", "retyped", "added") if schema.get(kind)]
    return f" (columns: {'; '.join(changes)})" if changes else ""
