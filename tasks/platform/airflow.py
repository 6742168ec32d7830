"""Airflow's REST API as the platform uses it: start runs, follow them, and say clearly why one failed."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tasks.core.errors import UpdraftError
from tasks.core.settings import Settings
from tasks.platform.airflow_api import AirflowApi, Run, TaskInstance, log_text

RUN_ENDED = frozenset({"success", "failed"})

POLL_SECONDS = 1.0
LOG_LINES = 20
SILENT_SECONDS = 120.0
"""A scheduler that imports its libraries on a busy machine is silent for up to a minute."""


class Airflow:
    """A client of the platform's Airflow; a context manager that closes its connections."""

    def __init__(self, settings: Settings) -> None:
        self._api = AirflowApi(settings)
        self.url = self._api.url

    def __enter__(self) -> "Airflow":
        return self

    def __exit__(self, *error: object) -> None:
        self._api.close()

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Create a pool, or change it to these slots."""
        pool = {"slots": slots, "description": description, "include_deferred": True}
        changed = self._api.send("PATCH", f"/pools/{name}", json={"pool": name, **pool})
        if changed.status_code == 404:
            self._api.call("POST", "/pools", json={"name": name, **pool})
        else:
            self._api.checked(changed)

    def wait_until_parsed(self, dags: Iterable[str], timeout: float = 60.0) -> None:
        """Wait until Airflow knows every one of ``dags``; asks for the known files to be read again at once.

        Raises:
            UpdraftError: a DAG file cannot be imported (with the file and the reason), or a DAG does not appear.
        """
        started = datetime.now(UTC)
        unknown = self._unknown(dags)
        if unknown:
            self._parse_again()
        while unknown:
            late = (datetime.now(UTC) - started).total_seconds() > timeout
            for error in self._api.call("GET", "/importErrors")["import_errors"]:
                if late or _time(error["timestamp"]) >= started:
                    message = f"Airflow cannot import {error['filename']}:\n{error['stack_trace']}"
                    raise UpdraftError(message, "correct that file")
            if late:
                raise UpdraftError(
                    f"Airflow knows no DAG {', '.join(sorted(unknown))}",
                    "see that the project's YAML is in the projects folder; then the dag-processor's log says more",
                )
            time.sleep(POLL_SECONDS / 2)
            unknown = self._unknown(unknown)

    def unpause(self, dag: str) -> None:
        """Let the scheduler start runs of ``dag``."""
        self._api.call("PATCH", f"/dags/{dag}", json={"is_paused": False})

    def trigger(self, dag: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run of ``dag`` now, with ``conf`` as its params. Returns the run's id."""
        return self._api.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf or {}})[
            "dag_run_id"
        ]

    def backfill(self, dag: str, first: date, last: date, max_active_runs: int = 4) -> int:
        """Run ``dag`` for each of its dates from ``first`` to ``last`` (both included), also where it ran before.

        One that is still under way over the same dates is joined.

        Returns:
            The backfill's id. ``runs(dag, first, last)`` are its runs.

        Raises:
            UpdraftError: another one of this DAG is under way, or Airflow refuses the dates.
        """
        dates = {"from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z"}
        running = self._running_backfill(dag)
        if running and all(_time(running[key]) == _time(value) for key, value in dates.items()):
            return running["id"]
        if running:
            raise UpdraftError(
                f"a backfill of {dag} from {running['from_date'][:10]} to {running['to_date'][:10]} is under way",
                f"wait for it, or cancel it at {self.url}/dags/{dag}/backfills",
            )
        body = {"dag_id": dag, **dates, "reprocess_behavior": "completed", "max_active_runs": max_active_runs}
        return self._api.call("POST", "/backfills", json=body)["id"]

    def runs(self, dag: str, first: date | None = None, last: date | None = None) -> list[Run]:
        """The runs of ``dag`` for the dates from ``first`` to ``last``, or all of them, by date."""
        dates = {"logical_date_gte": f"{first}T00:00:00Z"} if first else {}
        dates |= {"logical_date_lt": f"{last + timedelta(days=1)}T00:00:00Z"} if last else {}
        found = self._api.pages(f"/dags/{dag}/dagRuns", "dag_runs", order_by="logical_date", **dates)
        return [
            Run(dag, run["dag_run_id"], (run["logical_date"] or "")[:10], run["state"], run["duration"])
            for run in found
        ]

    def task_instances(self, dag: str, run: str = "~", changed_since: datetime | None = None) -> list[TaskInstance]:
        """The tasks of one run, or of all runs of ``dag``; only those that changed since then, where that is given."""
        since = {"updated_at_gte": changed_since.isoformat()} if changed_since else {}
        found = self._api.pages(f"/dags/{dag}/dagRuns/{quote(run, safe='~')}/taskInstances", "task_instances", **since)
        return [TaskInstance.of(entry) for entry in found]

    def xcom(self, dag: str, run: str, task: str, map_index: int = -1, key: str = "return_value") -> Any:
        """What a task returned, or None where it returned nothing."""
        path = f"/dags/{dag}/dagRuns/{quote(run)}/taskInstances/{task}/xcomEntries/{key}"
        answer = self._api.send("GET", path, params={"map_index": map_index, "deserialize": True})
        return None if answer.status_code == 404 else self._api.checked(answer)["value"]

    def log(self, task: TaskInstance, lines: int = LOG_LINES) -> str:
        """The last ``lines`` lines of what the task's last try wrote, its exception included."""
        path = f"/dags/{task.dag}/dagRuns/{quote(task.run)}/taskInstances/{task.task}/logs/{task.tries}"
        answer = self._api.call("GET", path, params={"map_index": task.map_index, "full_content": True})
        text = "\n".join(log_text(entry) for entry in answer["content"])
        return "\n".join([line for line in text.splitlines() if line and not line.startswith("::")][-lines:])

    def link(self, task: TaskInstance) -> str:
        """Where the UI shows the task."""
        mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
        return f"{self.url}/dags/{task.dag}/runs/{quote(task.run)}/tasks/{task.task}{mapped}"

    def follow(self, dag: str, runs: Iterable[str]) -> Iterator[TaskInstance]:
        """Yield each task instance of ``runs`` whenever it has a new state, until all the runs have ended.

        Raises:
            UpdraftError: a run failed; names the task that failed first, its try, its last log lines and its page.
                Or the scheduler has ended, and the runs never would.
        """
        wanted = set(runs)
        seen: dict[tuple[str, str, int], str] = {}
        since = None
        while True:
            asked = datetime.now(UTC)
            states = {run.id: run.state for run in self.runs(dag) if run.id in wanted}
            for task in self.task_instances(dag, changed_since=since):
                place = (task.run, task.task, task.map_index)
                if task.run in wanted and task.state and seen.get(place) != task.state:
                    seen[place] = task.state
                    yield task
            if wanted <= states.keys() and set(states.values()) <= RUN_ENDED:
                break
            self._check_scheduler()
            since = asked - timedelta(seconds=5)  # A change that was being committed when we asked is seen next time.
            time.sleep(POLL_SECONDS)
        for run in sorted(wanted):
            if states[run] == "failed":
                raise self._failure(dag, run)

    def wait(self, dag: str, runs: Iterable[str]) -> None:
        """Return when all of ``runs`` have ended; raises as ``follow`` does."""
        for _ in self.follow(dag, runs):
            pass

    def _check_scheduler(self) -> None:
        scheduler = self._api.call("GET", "/monitor/health")["scheduler"]
        beat = scheduler.get("latest_scheduler_heartbeat")
        silent = (datetime.now(UTC) - _time(beat)).total_seconds() if beat else 0.0
        if silent > SILENT_SECONDS:
            raise UpdraftError(
                f"Airflow's scheduler has given no sign of life for {silent:.0f} s",
                "read its log (`updraft status` shows where), then run `updraft up`: the runs go on where they were",
            )

    def _failure(self, dag: str, run: str) -> UpdraftError:
        failed = [task for task in self.task_instances(dag, run) if task.state == "failed"]
        if not failed:
            return UpdraftError(f"run {run} of {dag} failed", f"see {self.url}/dags/{dag}/runs/{quote(run)}")
        task = min(failed, key=lambda task: task.ended)
        where = f"task {task.name} of {dag}, run {run}"
        return UpdraftError(f"{where}, failed at try {task.tries}:\n{self.log(task)}", f"see {self.link(task)}")

    def _unknown(self, dags: Iterable[str]) -> set[str]:
        return set(dags) - {dag["dag_id"] for dag in self._api.pages("/dags", "dags")}

    def _parse_again(self) -> None:
        for token in {dag["file_token"] for dag in self._api.pages("/dags", "dags")}:
            self._api.send("PUT", f"/parseDagFile/{token}")

    def _running_backfill(self, dag: str) -> dict[str, Any] | None:
        """The backfill of ``dag`` that is under way, if any. One whose runs have all ended is closed on the way.

        The scheduler does that too, but only every 30 s, and until then Airflow refuses the next one.
        """
        for backfill in self._api.pages("/backfills", "backfills", dag_id=dag):
            if backfill["completed_at"]:
                continue
            first, last = (_time(backfill[key]).date() for key in ("from_date", "to_date"))
            if not {run.state for run in self.runs(dag, first, last)} <= RUN_ENDED:
                return backfill
            self._api.send("PUT", f"/backfills/{backfill['id']}/cancel")
        return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
