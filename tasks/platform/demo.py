"""The first run, as ``make run`` does it: sample data through Airflow to a live endpoint that is put to the test."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx
import numpy as np

from tasks.core.artifacts import Manifest
from tasks.core.errors import UpdraftError
from tasks.core.registry import Registry, Version
from tasks.core.settings import Settings
from tasks.core.shards import Split, read_split
from tasks.core.spec import Project
from tasks.core.stages import load_manifest
from tasks.core.store import Store, open_store
from tasks.platform.airflow import Airflow, Run, TaskInstance
from tasks.platform.endpoint import check_allowed, endpoint_client
from tasks.platform.summary import Summary

Say = Callable[[str], None]

_TOLD = {"running", "success", "failed", "skipped", "up_for_retry"}

_ASKS = "awaiting_input"


@dataclass(frozen=True)
class Held:
    """The live endpoint's answers to the held-out split.

    Attributes:
        errors: how far each answer is from the label, float (N,); of classes 0 where it is right, else 1.
        numbers: whether labels are numbers.
        sample: curl's arguments that ask about the row that was answered best.
    """

    errors: np.ndarray
    numbers: bool
    sample: str

    @property
    def rows(self) -> int:
        """How many were asked about."""
        return len(self.errors)

    @property
    def correct(self) -> int:
        """How many were answered without any error."""
        return int((self.errors == 0).sum())

    @property
    def verdict(self) -> str:
        """How right the answers are, in words."""
        if self.numbers:
            return f"{self.rows} answers, off by {self.errors.mean():.4g} on average"
        return f"{self.correct} of {self.rows} right"


def pipeline_through_airflow(spec: Project, settings: Settings, say: Say) -> Summary:
    """Backfills ``<project>_features`` over the source's dates, then runs ``<project>_train``.

    Args:
        say: told one line per task that starts or ends.

    Raises:
        UpdraftError: a DAG cannot be imported, or a run failed; names the task and its page.
    """
    from tasks.data.source import partitions

    features, train, monitor = (f"{spec.name}_{pipeline}" for pipeline in ("features", "train", "monitor"))
    dates = partitions(spec)
    store, registry = open_store(settings.store_uri), Registry(settings.registry_url)
    with Airflow(settings) as airflow:
        airflow.wait_until_parsed([features, train, monitor])
        # The runs must stand before the DAG is unpaused: else its catch-up makes runs of its own for the same dates.
        first, last = date.fromisoformat(dates[0]), date.fromisoformat(dates[-1])
        airflow.backfill(features, first, last)
        airflow.unpause(features)
        follow = _Follower(spec.name, store, registry, say)
        follow(airflow, airflow.runs(features, first, last))
        airflow.unpause(train)
        triggered = airflow.trigger(train)
        follow(airflow, [run for run in airflow.runs(train) if run.id == triggered])
        airflow.unpause(monitor)
    return Summary(follow.manifests, registry.alias(spec.name))


def check_key(project: str, settings: Settings) -> None:
    """Sends the endpoint an empty question, so that a refusal is known before the work that it would waste.

    Raises:
        BadInput: it wants a key, or another one than that of UPDRAFT_API_KEY.
    """
    with endpoint_client(settings) as client:
        check_allowed(client.post(f"/v1/{project}/predict"))


def question_endpoint(spec: Project, summary: Summary, settings: Settings) -> Held:
    """Sends every held-out row to the live endpoint and compares the answers with the labels.

    Raises:
        UpdraftError: the endpoint serves another version, does not answer, or does worse than evaluation measured.
    """
    store = open_store(settings.store_uri)
    (dataset,) = summary.manifests["dataset"]
    split = read_split(store.fetch(dataset.folder), "test")
    errors = np.zeros(len(split))
    with endpoint_client(settings) as client:
        for number, label in enumerate(split.labels):
            said = _ask(client, spec.name, _question(store, split, number), summary.champion)
            errors[number] = abs(said["value"] - label) if spec.is_regression else said["label"] != spec.classes[label]
    held = Held(errors, spec.is_regression, _as_curl(store, split, int(errors.argmin())))
    if summary.champion:
        _compare(held, split, summary.champion.measured["metrics"])
    return held


def _ask(client: httpx.Client, project: str, question: Mapping[str, Any], champion: Version | None) -> dict[str, Any]:
    answer = client.post(f"/v1/{project}/predict", **question)
    if answer.status_code != 200:
        raise UpdraftError(f"The endpoint answered {answer.status_code}: {answer.text[:300]}", "See its log.")
    said = answer.json()
    if champion and said["version"] != champion.version:
        message = f"The endpoint answers with version {said['version']}, not {champion.version}."
        raise UpdraftError(message, "See its log; it should switch within seconds.")
    found: dict[str, Any] = said["predictions"][0]
    return found


def _compare(held: Held, split: Split, measured: Mapping[str, float]) -> None:
    """Raises `UpdraftError` if the answers are worse than those that evaluation measured."""
    # Evaluation ran in TensorFlow, the endpoint in ONNX Runtime: a tie may fall the other way, no more than that.
    expected = measured["mae"] if held.numbers else 1 - measured["accuracy"]
    margin = 0.001 * float(split.labels.std()) if held.numbers else 1 / held.rows
    if held.errors.mean() > expected + margin:
        message = f"The endpoint on the held-out rows: {held.verdict}; evaluation had a mean error of {expected:.4f}."
        raise UpdraftError(message, "Report this: serving and training disagree.")


def _question(store: Store, split: Split, number: int) -> dict[str, Any]:
    """The request that asks about a row: an image's bytes, or a table's values."""
    if split.rows is not None:
        return {"json": {"instances": [json.loads(split.rows[number])]}}
    uri = split.uris[number]
    return {"content": store.read_bytes(uri), "headers": {"content-type": f"image/{uri.rpartition('.')[2]}"}}


def _as_curl(store: Store, split: Split, number: int) -> str:
    if split.rows is not None:
        data = shlex.quote(json.dumps({"instances": [json.loads(split.rows[number])]}))
        return f"-H 'content-type: application/json' --data {data}"
    return f"-H 'content-type: image/png' --data-binary @{shlex.quote(str(store.fetch(split.uris[number])))}"


class _Follower:
    """Turns Airflow's state changes into lines, and collects the manifests."""

    def __init__(self, project: str, store: Store, registry: Registry, say: Say) -> None:
        self.manifests: dict[str, list[Manifest]] = {}
        self._project, self._store, self._registry, self._say = project, store, registry, say

    def __call__(self, airflow: Airflow, runs: Sequence[Run]) -> None:
        dates = {run.id: run.date for run in runs}
        for task in airflow.follow(runs[0].dag, dates):
            if task.state in _TOLD:
                what = " ".join(filter(None, (task.dag, dates[task.run], task.name)))
                self._say(f"{what}: {task.state}{self._how(task)}")
            elif task.state == _ASKS:
                self._say(
                    f"{task.dag} {task.name}: waits for a person's answer at {airflow.link(task)}/required_actions"
                )
        # A backfill runs a date again under the same id: the last time counts.
        last = {(run.stage, run.partition): run for run in self._registry.runs(self._project, list(dates))}
        for _, run in sorted(last.items()):
            manifest = load_manifest(self._store, run.manifest)
            seen = {"cache": run.cache, "because": run.because, "seconds": run.seconds}
            self.manifests.setdefault(run.stage, []).append(manifest.model_copy(update=seen))

    def _how(self, task: TaskInstance) -> str:
        if task.state != "success":
            return ""
        made = [r for r in self._registry.runs(self._project, [task.run]) if r.stage == task.task]
        cache = next((f", {r.cache}: {r.because}" for r in reversed(made) if task.label in ("", r.partition)), "")
        return f" in {task.seconds or 0:.1f} s{cache}"
