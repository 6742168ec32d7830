"""Which rows break which rules: one pass of DuckDB over ingestion's rows, whatever their number.

The rows themselves never come into Python, and what is remembered of each is a few bits and hashes; DuckDB spills to
disk what does not fit. Of rows that must be unique, the first sound one of each value stays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tasks.data.conditions import condition, keys, text
from tasks.data.duck import connect, make_view
from tasks.data.expectations import ADDED, NEAR, UNIQUE, Rule
from tasks.runtime.near import groups


class Verdicts:
    """The rules' verdicts on the rows of one partition, as DuckDB's tables.

    ``broken``: a line for each row and rule that it breaks, and the row that it repeats. ``verdict``, once `conclude`
    has run: a line for each bad row.

    Args:
        rows: ingestion's ``rows.parquet``.
        rules: the worst first.
        added: the columns that the source has and the spec does not know, if that is a fault.
        work: a folder to spill to.
    """

    def __init__(self, rows: Path, rules: Sequence[Rule], added: str | None, work: Path) -> None:
        self.rules = rules
        self._con = connect(work)
        self._fields = make_view(self._con, rows, added)
        self._names = [name for name in self._fields if name != ADDED]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()

    @property
    def foreign(self) -> list[Rule]:
        """The rules that Great Expectations has to evaluate on the whole table."""
        return [rule for rule in self.rules if not self._translated(rule)]

    def scan(self) -> None:
        """Evaluates the rules that hold of a row by itself, and remembers what the others need."""
        kept = ["row_id", f"{self._fields['defect'].sql} AS defect"]
        for rule in self.rules:
            if rule.type in UNIQUE and (unique := keys(rule.type, rule.kwargs, self._fields)):
                columns, asked = unique
                kept.append(f"CASE WHEN {asked} THEN hash({', '.join(columns)}) END AS h{rule.number}")
            elif sql := self._condition(rule):
                kept.append(f"coalesce({sql}, FALSE) AS b{rule.number}")
        if "image_hash" in self._names:
            kept.append(f"{self._fields['image_hash'].sql} AS image_hash")
        self._con.execute(f"CREATE TEMP TABLE seen AS SELECT {', '.join(kept)} FROM source")
        self._con.execute("CREATE TEMP TABLE broken (row_id BIGINT, rule INTEGER, repeats BIGINT)")
        for rule in self.rules:
            if self._condition(rule) is not None:
                n = rule.number
                self._con.execute(f"INSERT INTO broken SELECT row_id, {n}, NULL FROM seen WHERE b{n}")

    def add(self, rule: Rule, rows: Sequence[int]) -> None:
        """Takes over what Great Expectations found on the whole table."""
        found = np.array(rows, np.int64)
        if rule.type in UNIQUE:
            columns = [self._fields[column].sql for column in rule.columns]
            self._share(rule, columns, self._rows_of(found))
        else:
            self._insert(rule, pa.table({"row_id": found}), "NULL")

    def deduplicate(self, bits: int | None) -> None:
        """Evaluates what must be unique, in the rules' order; ``bits``: how far near-duplicates may be apart."""
        for rule in self.rules:
            if rule.columns == (NEAR,):
                self._near(rule, bits or 0)
            elif rule.type in UNIQUE:
                if unique := keys(rule.type, rule.kwargs, self._fields):
                    key = f"h{rule.number}"
                    twice = f"SELECT {key} FROM seen WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1"
                    # Hashes can collide: `_share` compares the values themselves.
                    self._share(rule, unique[0], f"SELECT row_id FROM seen WHERE {key} IN ({twice})")
                self._keep_first(rule)

    def conclude(self) -> dict[str, int]:
        """Draws each bad row's verdict together.

        Returns:
            Reason to the number of rows it is the worst of, the most frequent first.
        """
        codes = ", ".join(f"({rule.number}, {text(rule.reason)})" for rule in self.rules)
        self._con.execute(f"""
            CREATE TEMP TABLE verdict AS
            SELECT row_id, min(rule) AS rule, arg_min(reason, rule) AS reason, list(reason ORDER BY rule) AS reasons,
                   arg_min_null(repeats, rule) AS repeats
            FROM (SELECT row_id, min(rule) AS rule, arg_min_null(repeats, rule) AS repeats,
                         CASE WHEN rule = 0 THEN defect ELSE code END AS reason
                  FROM broken JOIN (VALUES {codes}) codes(rule, code) USING (rule) JOIN seen USING (row_id)
                  GROUP BY row_id, reason)
            GROUP BY row_id""")
        counted = "SELECT reason, count(*) AS n FROM verdict GROUP BY reason ORDER BY n DESC, reason"
        return dict(self._con.execute(counted).fetchall())

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._one("SELECT count(*) FROM seen")

    def bad(self) -> np.ndarray:
        """bool (N,), by ``row_id``: the rows that have a verdict."""
        mask = np.zeros(self.count, bool)
        mask[self._con.execute("SELECT row_id FROM verdict").fetchnumpy()["row_id"]] = True
        return mask

    def sample(self, size: int) -> np.ndarray:
        """int64 (M,), sorted: all rows if they are at most ``size``.

        Else rows of every broken rule, up to a fifth of ``size`` in all (complete results of many bad rows are what
        Great Expectations is slowest at), the rows that these repeat, and evenly spaced others.
        """
        count, broken = self.count, max(1, self._one("SELECT count(DISTINCT rule) FROM broken"))
        step = 1 if count <= size else -(-count // (size // 2))
        each = size // 5 // broken
        found = self._con.execute(f"""
            WITH listed AS (SELECT row_id, repeats FROM broken
                          QUALIFY row_number() OVER (PARTITION BY rule ORDER BY row_id) <= {each})
            SELECT row_id FROM seen WHERE row_id % {step} = 0
            UNION SELECT row_id FROM listed
            UNION SELECT repeats FROM listed WHERE repeats IS NOT NULL ORDER BY row_id""")
        return found.fetchnumpy()["row_id"]

    def rows(self, sample: np.ndarray) -> pa.Table:
        """The rows of the sample, as ingestion published them."""
        columns = ", ".join(self._fields[name].sql for name in self._names)
        found = self._con.sql(f"SELECT {columns} FROM source WHERE row_id IN {self._rows_of(sample)} ORDER BY row_id")
        return pa.table(found.to_arrow_reader()).rename_columns(self._names)

    def expected(self, rule: Rule, sample: np.ndarray) -> list[int]:
        """The rows that Great Expectations has to find when it sees the rows of ``sample`` alone, sorted."""
        if rule.type in UNIQUE:
            sql = f"FROM shared{rule.number} WHERE row_id IN {self._rows_of(sample)}"
            sql += " QUALIFY count(*) OVER (PARTITION BY first) > 1"
        else:
            sql = f"FROM broken WHERE rule = {rule.number} AND row_id IN {self._rows_of(sample)}"
        return [row for (row,) in self._con.execute(f"SELECT row_id {sql} ORDER BY row_id").fetchall()]

    def near(self, sample: np.ndarray) -> dict[int, int]:
        """Rows of the sample that are near-duplicates, and the row that stays for each."""
        number = next((rule.number for rule in self.rules if rule.columns == (NEAR,)), -1)
        broken = f"SELECT row_id, repeats FROM broken WHERE rule = {number}"
        found = self._con.execute(f"{broken} AND row_id IN {self._rows_of(sample)}")
        return dict(found.fetchall())

    def write(self, path: Path, replay: str) -> None:
        """Writes the bad rows as JSON lines: see `tasks.data.quarantine.Rejected`."""
        names = ", ".join(f"({rule.number}, {text(rule.name)})" for rule in self.rules)
        shown = " ".join(f"WHEN {rule.number} THEN {self._shown(rule)}" for rule in self.rules)
        row = ", ".join(f"{text(name)}, {self._json(name)}" for name in self._names if name not in ("defect", "detail"))
        self._con.execute(f"""
            COPY (SELECT json_object({row}) AS row, name AS rule, reason, reasons,
                         left(CASE WHEN repeats IS NOT NULL THEN 'as row ' || repeats
                                   ELSE CASE verdict.rule {shown} END END, 200) AS detail,
                         {text(replay)} AS replay
                  FROM source JOIN verdict USING (row_id)
                  JOIN (VALUES {names}) names(rule, name) ON verdict.rule = names.rule
                  ORDER BY row_id)
            TO {text(str(path))} (FORMAT json)""")

    def _condition(self, rule: Rule) -> str | None:
        speaks_of = {name: self._fields[name] for name in rule.columns if name in self._fields}
        return condition(rule.type, rule.kwargs, speaks_of)

    def _translated(self, rule: Rule) -> bool:
        if rule.type in UNIQUE:
            return keys(rule.type, rule.kwargs, self._fields) is not None
        return rule.columns == (NEAR,) or self._condition(rule) is not None

    def _rows_of(self, rows: np.ndarray) -> str:
        """A subquery for some ``row_id``."""
        self._con.register("given", pa.table({"row_id": rows}))
        return "(SELECT row_id FROM given)"

    def _insert(self, rule: Rule, found: pa.Table, repeats: str) -> None:
        self._con.register("given", found)
        self._con.execute(f"INSERT INTO broken SELECT row_id, {rule.number}, {repeats} FROM given")

    def _share(self, rule: Rule, columns: Sequence[str], candidates: str) -> None:
        """Table ``shared``: the candidates that share their values with others, and the first row of each value."""
        self._con.execute(f"""
            CREATE TEMP TABLE shared{rule.number} AS
            SELECT row_id, min(row_id) OVER same AS first
            FROM source WHERE row_id IN ({candidates})
            WINDOW same AS (PARTITION BY {", ".join(columns)}) QUALIFY count(*) OVER same > 1""")

    def _keep_first(self, rule: Rule) -> None:
        """All but the first sound row of each value break the rule; sound: breaking nothing worse."""
        self._con.execute(f"""
            INSERT INTO broken
            SELECT row_id, {rule.number}, CASE WHEN kept <> row_id THEN kept END
            FROM (SELECT *, first_value(row_id) OVER (PARTITION BY first ORDER BY sound DESC, row_id) AS kept
                  FROM (SELECT *, row_id NOT IN (SELECT row_id FROM broken) AS sound FROM shared{rule.number}))
            WHERE NOT (sound AND row_id = kept)""")

    def _near(self, rule: Rule, bits: int) -> None:
        sound = "image_hash IS NOT NULL AND row_id NOT IN (SELECT row_id FROM broken)"
        found = self._con.execute(f"SELECT row_id, image_hash FROM seen WHERE {sound} ORDER BY row_id").fetchnumpy()
        first = groups(found["image_hash"], bits)
        repeats = np.flatnonzero(first != np.arange(len(first)))
        rows = found["row_id"]
        table = pa.table({"row_id": rows[repeats], "kept": rows[first[repeats]]})
        self._insert(rule, table, "kept")

    def _shown(self, rule: Rule) -> str:
        """What is told of a row that breaks the rule: the ingestion's words, or the values."""
        if rule.number == 0:
            return self._fields["detail"].sql
        known = [(name, self._fields[name].sql) for name in rule.columns if name in self._fields]
        told = [f"{text(name + ': ')} || coalesce({sql}::VARCHAR, 'null')" for name, sql in known]
        return f"concat_ws(', ', {', '.join(told)})" if told else "NULL"

    def _json(self, name: str) -> str:
        field = self._fields[name]
        if field.kind == "time":
            return f"strftime({field.sql} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%f+00:00')"
        if field.floating:  # JSON knows no infinity.
            return f"CASE WHEN isinf({field.sql}) THEN to_json({field.sql}::VARCHAR) ELSE to_json({field.sql}) END"
        return field.sql

    def _one(self, query: str) -> Any:
        return self._con.execute(query).fetchall()[0][0]
