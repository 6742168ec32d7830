"""Drift from the request log, as the endpoint writes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.errors import BadInput
from tasks.core.registry import Registry, Version
from tasks.core.settings import settings
from tasks.core.stages import execute
from tasks.core.store import LocalStore
from tasks.monitoring.drift import judge
from tasks.monitoring.window import window
from tasks.runtime.baseline import summarize, watched
from tasks.runtime.predictor import Inputs, Predictor
from tasks.runtime.requests import RequestLog
from tests.packages import people, png, project, register, skies
from tests.stages import load_stage

DRIFT = load_stage("tasks.monitoring.drift:drift")


@dataclass(frozen=True)
class Platform:
    """A store and a registry with nothing in them."""

    store: LocalStore
    registry: Registry

    def drift(self, name: str = "tiny") -> Manifest:
        today = datetime.now(UTC).date().isoformat()
        return execute(DRIFT, project(name), {}, store=self.store, registry=self.registry, partition=today)

    def champion(self, name: str = "tiny") -> Version:
        version = register(self.registry, self.store, "first", name=name)
        self.registry.move_alias(name, "champion", version.version, expected=None, who="test", why="test")
        return version

    def serve(self, champion: Version, images: list[bytes], version: int | None = None) -> None:
        """Logs the images as the endpoint would."""
        predictor = Predictor.load(self.store.fetch(champion.package.rpartition("/")[0]))
        self._log(champion, Inputs.join([predictor.prepare(image) for image in images]), version)

    def serve_rows(self, champion: Version, rows: list[dict[str, object]]) -> None:
        """Logs the rows as the endpoint would."""
        predictor = Predictor.load(self.store.fetch(champion.package.rpartition("/")[0]))
        self._log(champion, predictor.prepare_rows(rows))

    def _log(self, champion: Version, inputs: Inputs, version: int | None = None) -> None:
        log, name = RequestLog(settings().home), champion.project
        features = watched(project(name).features, inputs.features)
        log.start()
        for number in range(len(inputs)):
            row = {group: values[number] for group, values in features.items()}
            record = {"kind": "prediction", "request_id": str(number), "index": 0, "features": row}
            log.append(name, {**record, "version": version or champion.version})
            log.append(name, {"kind": "feedback", "request_id": str(number), "label": "dark"})
        log.stop()


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    registry = Registry(settings().registry_url)
    yield Platform(LocalStore(Path(settings().store_uri)), registry)
    registry.close()


def test_images_like_those_of_training_have_not_drifted(platform: Platform) -> None:
    platform.serve(platform.champion(), [png(128, seed) for seed in range(1000, 1200)])
    manifest = platform.drift()
    assert manifest.metrics["judged"] and manifest.metrics["requests"] == 200
    assert manifest.metrics["drifted"] == [] and manifest.metrics["version"] == 1
    assert set(manifest.outputs) == {"drift.json", "drift.png"}


def test_darker_images_have_drifted_in_brightness(platform: Platform) -> None:
    platform.serve(platform.champion(), [png(100, seed) for seed in range(200)])
    manifest = platform.drift()
    assert "image_stats.brightness" in manifest.metrics["drifted"]
    assert "image_stats.sharpness" not in manifest.metrics["drifted"]
    assert manifest.metrics["max_psi"] > 0.2


def test_rows_drift_in_their_numbers_and_in_what_is_missing(platform: Platform) -> None:
    champion = platform.champion("people")
    platform.serve_rows(champion, people(200, seed=7))
    assert platform.drift("people").metrics["drifted"] == []
    platform.serve_rows(champion, [{"age": row["age"] + 20} for row in people(200, seed=8)])
    assert set(platform.drift("people").metrics["drifted"]) == {"numeric.age", "numeric.member"}


@pytest.mark.slow
def test_rows_drift_in_their_categories(platform: Platform) -> None:
    champion = platform.champion("weather")
    platform.serve_rows(champion, skies(200, seed=7))
    metrics = platform.drift("weather").metrics
    assert metrics["judged"] and metrics["drifted"] == []
    platform.serve_rows(champion, skies(800, seed=8, sunny=0.05))
    assert platform.drift("weather").metrics["drifted"] == ["categorical.sky"]


def test_too_few_requests_are_not_judged(platform: Platform) -> None:
    platform.serve(platform.champion(), [png(0)] * 49)
    metrics = platform.drift().metrics
    assert (metrics["requests"], metrics["judged"], metrics["drifted"]) == (49, False, [])


def test_requests_that_another_version_answered_do_not_count(platform: Platform) -> None:
    platform.serve(platform.champion(), [png(0)] * 60, version=7)
    assert platform.drift().metrics["requests"] == 0


def test_without_a_champion_the_stage_says_so(platform: Platform) -> None:
    metrics = platform.drift().metrics
    assert (metrics["judged"], metrics["why"]) == (False, "no champion yet")


def test_the_same_log_is_a_hit_and_a_longer_one_is_not(platform: Platform) -> None:
    champion = platform.champion()
    platform.serve(champion, [png(1)])
    assert platform.drift().cache == "MISS"
    assert platform.drift().cache == "HIT"
    platform.serve(champion, [png(1)])
    again = platform.drift()
    assert (again.cache, again.metrics["requests"]) == ("MISS", 2)


def test_a_partition_is_an_hour_or_a_day(platform: Platform) -> None:
    hour = window("2026-01-01T23")
    assert [time.isoformat() for time in hour] == ["2026-01-01T23:00:00+00:00", "2026-01-02T00:00:00+00:00"]
    assert [time.day for time in window("2026-01-31")] == [31, 1]
    for wrong in ("", "2026", "2026-13-01", "2026-01-01T24", "2026-01-01T05:30", "yesterday"):
        with pytest.raises(BadInput, match="no window"):
            window(wrong)


def test_chance_alone_seldom_drifts_though_there_are_many_dimensions() -> None:
    random = np.random.default_rng(3)
    names = [str(n) for n in range(300)]
    baseline = summarize({"f": random.normal(size=(1200, 300))}, {"f": names})
    alarms = [judge(baseline, {"f": random.normal(size=(rows, 300))}, 0.05) for rows in (60, 100, 300, 1000) * 3]
    assert sum(row["drifted"] for found in alarms for row in found.values()) <= 1
    shifted = judge(baseline, {"f": random.normal(size=(300, 300)) + 1}, 0.05)
    assert sum(row["drifted"] for row in shifted.values()) > 290
