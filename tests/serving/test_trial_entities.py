"""A trial of requests by entity: each version looks up in the feature view that it was trained on."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import ASGIApp

from feature_repo.names import view_name
from serving.app import application
from serving.memory import Memory
from serving.models import Challenger, Live, read_live
from tasks.core.config import replace
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tasks.runtime.predictor import SIGNATURE
from tasks.runtime.requests import RequestLog
from tests.features.conftest import Platform, Row
from tests.packages import project, write_package
from tests.serving.in_process import Lives

PATH = "/v1/people/predict"
SPEC = project("people")
COLUMNS = [*SPEC.model_dump()["source"]["columns"], {"name": "shoe", "type": "number", "nullable": True}]
LATER = replace(SPEC, {"source.columns": COLUMNS})
"""The project after somebody has added a column: its features stand in a view of their own."""

pytestmark = pytest.mark.slow


class Tried(Lives):
    """Version 1 of ``people``, and what is tried beside it."""

    def __init__(self, champion: Live) -> None:
        super().__init__({"people": champion})
        self.other: Challenger | None = None

    def challenger(self, project: str) -> Challenger | None:
        return self.other


class Endpoint:
    """The application, asked within one event loop: a shadow is asked after the answer was sent.

    Attributes:
        kept: what was recorded of the trial.
    """

    def __init__(self, app: ASGIApp, models: Tried, versions: dict[int, Live]) -> None:
        self.kept: list[Any] = []
        self._app, self._models, self._versions = app, models, versions

    def ask(self, version: int, mode: str, *bodies: dict[str, Any], records: int) -> list[Any]:
        """The answers while ``version`` is tried, once there are so many records; they come in the requests' order."""
        later = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
        self.kept = []
        self._models.other = Challenger(self._versions[version], mode, 1.0, later, self.kept.append)

        async def ask_all() -> list[Any]:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
                answers = [(await client.post(PATH, json=body)).json() for body in bodies]
                with anyio.fail_after(30):
                    while len(self.kept) < records:
                        await anyio.sleep(0.01)
                return answers

        return anyio.run(ask_all)

    def recorded(self) -> list[tuple[int, str, list[str]]]:
        """Of each record the version, what failed and the labels; the versions' in order."""
        found = [
            (each["version"], each["failed"], [answer["label"] for answer in each["answers"]]) for each in self.kept
        ]
        return sorted(found)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Version 2 was trained on the champion's view, version 3 on a later one, where Ana is older and Bo not known."""
    folder = tmp_path_factory.mktemp("entities")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(folder / "home"))
        for name in ("STORE", "DATABASE_URL", "ONLINE_STORE"):
            patch.delenv(f"UPDRAFT_{name}", raising=False)
        settings.cache_clear()
        _materialize(folder)
        memory = Memory(None)
        for number in (1, 2, 3):
            write_package(folder / str(number), name="people")
        described = json.loads((folder / "3" / SIGNATURE).read_text(encoding="utf-8"))
        assert described["view"] == view_name(SPEC)
        described |= {"view": view_name(LATER), "columns": COLUMNS}
        (folder / "3" / SIGNATURE).write_text(json.dumps(described), encoding="utf-8")
        versions = {number: read_live(folder / str(number), memory, number) for number in (1, 2, 3)}
        models = Tried(versions[1])
        yield Endpoint(application(models, RequestLog(folder)), models, versions)
    settings.cache_clear()


def _materialize(folder: Path) -> None:
    registry, today = Registry(settings().registry_url), datetime.now(UTC).date().isoformat()

    def rows(**ages: float) -> list[Row]:
        return [Row(name, today, features={"numeric": [age, 1.0]}) for name, age in ages.items()]

    platform = Platform(SPEC, LocalStore(folder / "home" / "store"), registry)
    platform.materialize(rows(ana=20, bo=20), today)
    platform.materialize(rows(ana=80), today, LATER)
    registry.close()


ANA, BO = {"entities": ["ana"]}, {"entities": ["bo"]}
ROW = {"instances": [{"age": 80, "member": True}]}


def test_a_canary_looks_up_in_its_own_view(endpoint: Endpoint) -> None:
    (answer,) = endpoint.ask(2, "canary", ANA, records=1)
    assert (answer["version"], answer["predictions"][0]["label"]) == (2, "dark")
    (answer,) = endpoint.ask(3, "canary", ANA, records=1)
    assert (answer["version"], answer["predictions"][0]["label"]) == (3, "bright")
    assert endpoint.recorded() == [(3, "", ["bright"])]


def test_an_entity_that_the_canary_s_view_lacks_counts_against_it(endpoint: Endpoint) -> None:
    (answer,) = endpoint.ask(3, "canary", BO, records=1)
    assert answer["error"]["code"] == "unknown_entity"
    assert endpoint.recorded() == [(3, "unknown_entity", [])]


def test_a_shadow_of_the_same_view_is_asked_about_what_the_champion_found(endpoint: Endpoint) -> None:
    (answer,) = endpoint.ask(2, "shadow", BO, records=2)
    assert (answer["version"], answer["predictions"][0]["entity"]) == (1, "bo")
    assert endpoint.recorded() == [(1, "", ["dark"]), (2, "", ["dark"])]


def test_a_shadow_of_another_view_is_asked_about_rows_alone(endpoint: Endpoint) -> None:
    by_entity, by_row = endpoint.ask(3, "shadow", ANA, ROW, records=3)
    assert by_entity["version"] == by_row["version"] == 1
    assert endpoint.recorded() == [(1, "", ["bright"]), (1, "", ["dark"]), (3, "", ["bright"])]
