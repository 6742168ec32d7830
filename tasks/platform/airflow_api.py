"""Talking to the REST API of the platform's Airflow: tokens, pages, what it answers as types, and what it refuses."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tasks.core.errors import UpdraftError
from tasks.core.settings import Settings
from tasks.platform.environment import ADMIN, admin_password, airflow_url

PAGE = 100
"""How many entries Airflow gives at once (its own upper limit)."""


@dataclass(frozen=True)
class Run:
    """One run of a DAG."""

    dag: str
    id: str
    date: str
    """The date it is for, as YYYY-MM-DD; empty for a run that is for no date."""
    state: str
    seconds: float | None


@dataclass(frozen=True)
class TaskInstance:
    """One task in one run, in the state it had when it was asked for."""

    dag: str
    run: str
    task: str
    map_index: int
    """Which of a mapped task's instances; -1 for a task that is not mapped."""
    label: str
    """What a mapped instance calls itself, else its index; empty for a task that is not mapped."""
    state: str
    tries: int
    seconds: float | None
    ended: str

    @property
    def name(self) -> str:
        """The task as a person reads it: ``trial[3]``."""
        return f"{self.task}[{self.label}]" if self.label else self.task

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "TaskInstance":
        """From Airflow's own description of it."""
        index = entry["map_index"]
        label = (entry["rendered_map_index"] or str(index)) if index >= 0 else ""
        return cls(
            dag=entry["dag_id"],
            run=entry["dag_run_id"],
            task=entry["task_id"],
            map_index=index,
            label=label,
            state=entry["state"] or "",
            tries=entry["try_number"],
            seconds=entry["duration"],
            ended=entry["end_date"] or "",
        )


class AirflowApi:
    """A connection to ``/api/v2``, logged in as the platform's one user when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self.url = airflow_url(settings)
        self._settings = settings
        self._http = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def pages(self, path: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every entry of a list that Airflow gives in pages; ``key`` names the list in the answer."""
        offset = 0
        while True:
            answer = self.call("GET", path, params={**params, "limit": PAGE, "offset": offset})
            yield from answer[key]
            offset += PAGE
            if offset >= (answer.get("total_entries") or 0):
                return

    def call(self, method: str, path: str, **request: Any) -> Any:
        """What Airflow answers, as JSON. Raises UpdraftError where it refuses."""
        return self.checked(self.send(method, path, **request))

    def checked(self, answer: httpx.Response) -> Any:
        """The JSON of an answer. Raises UpdraftError if it is a refusal."""
        if answer.is_success:
            return answer.json() if answer.content else None
        raise UpdraftError(
            f"Airflow answered {answer.status_code} to {answer.request.method} {answer.request.url.path}: "
            f"{_detail(answer)}",
            "the airflow-api-server log says more",
        )

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer, whatever it is. Asks with a fresh token if the old one is refused, again if the database is busy.

        Raises:
            UpdraftError: nobody answers.
        """
        for pause in (0.0, 0.5, 2.0, 0.0):
            if "Authorization" not in self._http.headers:
                self._log_in()
            answer = self._sent(method, f"/api/v2{path}", **request)
            if answer.status_code == 401:
                del self._http.headers["Authorization"]
            elif answer.status_code != 503:
                break
            time.sleep(pause)
        return answer

    def _log_in(self) -> None:
        login = {"username": ADMIN, "password": admin_password(self._settings)}
        token = self.checked(self._sent("POST", "/auth/token", json=login))["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def _sent(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UpdraftError(
                f"Airflow does not answer at {self.url}: {error or type(error).__name__}",
                "start it with `updraft up`; `updraft status` shows how it is",
            ) from error


def log_text(entry: str | dict[str, Any]) -> str:
    """One entry of a task's log as a person reads it, the exception it carries included."""
    if isinstance(entry, str):
        return entry
    if not entry.get("timestamp"):
        return ""  # Where the log was read from.
    raised = [f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or []]
    return "\n".join([entry["event"], *raised])


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
