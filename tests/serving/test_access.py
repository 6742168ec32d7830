"""Who may ask: keys, scopes, projects, rates; over a registry, and over real HTTP with two workers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.access import Access, Mode, needed
from serving.key_ring import KeyRing
from serving.limits import RateLimits
from serving.request_ids import RequestIds
from tasks.core.errors import BadInput
from tasks.core.keys import ALL, digest_of, new_key
from tasks.core.registry import Registry
from tasks.core.settings import Settings
from tasks.platform.demo import check_key
from tests.packages import png, register
from tests.serving.conftest import Running, serve, until
from tests.serving.in_process import InProcess

PNG = {"content-type": "image/png"}
PREDICT = "/v1/tiny/predict"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    """An empty registry."""
    found = Registry(f"sqlite:///{home / 'registry.db'}")
    yield found
    found.close()


def make(registry: Registry, **given: Any) -> str:
    """A key of the registry."""
    key = new_key()
    values = {"name": "app", "project": "tiny", "scopes": ["predict"], "who": "test", **given}
    registry.add_key(digest=digest_of(key.encode()), **values)
    return key


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"authorization": f"Bearer {key}"}


def client(
    registry: Registry, home: Path, mode: Mode = "auto", host: str = "127.0.0.1", at: str = "127.0.0.1"
) -> httpx.Client:
    """Something that answers everything, behind the keys as they are now."""

    async def answer(request: Request) -> Response:
        caller = getattr(request.state, "caller", None)
        return JSONResponse({"caller": caller and caller.name})

    ring = KeyRing(registry.keys)
    ring.refresh()
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "DELETE"])])
    guarded = RequestIds(Access(app, ring, RateLimits(home / "rates"), mode, host))
    return httpx.Client(transport=InProcess(guarded), base_url=f"http://{at}")


def code(response: httpx.Response) -> tuple[int, str]:
    """The status and the word of an error."""
    return response.status_code, response.json()["error"]["code"]


def test_a_laptop_is_open_until_the_first_key_and_revoking_the_last_opens_nothing(
    registry: Registry, home: Path
) -> None:
    assert client(registry, home).post(PREDICT).json() == {"caller": None}
    key = make(registry)
    assert code(client(registry, home).post(PREDICT)) == (401, "key_wanted")
    assert client(registry, home).post(PREDICT, headers=bearer(key)).json() == {"caller": "app"}
    registry.revoke_key(1, "test")
    assert code(client(registry, home).post(PREDICT)) == (401, "key_wanted")


@pytest.mark.parametrize(
    ("mode", "host", "at", "status"),
    [
        ("auto", "127.0.0.1", "127.0.0.1", 200),
        ("auto", "0.0.0.0", "127.0.0.1", 401),
        # Started by hand on every address, whatever the settings say.
        ("auto", "127.0.0.1", "10.1.2.3", 401),
        ("auto", "localhost", "127.0.0.1", 200),
        ("required", "127.0.0.1", "127.0.0.1", 401),
        ("open", "0.0.0.0", "10.1.2.3", 200),
    ],
)
def test_without_keys_who_may_ask_follows_from_where_it_listens(
    registry: Registry, home: Path, mode: Mode, host: str, at: str, status: int
) -> None:
    assert client(registry, home, mode, host, at).post(PREDICT).status_code == status


@pytest.mark.parametrize("path", ["/", "/metrics", "/readyz", "/v1/tiny", "/v2/models/tiny"])
def test_reading_needs_no_key(registry: Registry, home: Path, path: str) -> None:
    asked = client(registry, home, "required")
    assert asked.get(path).status_code == asked.head(path).status_code == 200
    assert asked.post(path).status_code == 401


def test_a_key_comes_as_a_bearer_or_by_itself_and_is_refused_with_the_reason(registry: Registry, home: Path) -> None:
    past = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1)
    good, expired, revoked = make(registry), make(registry, expires_at=past), make(registry, name="gone")
    registry.revoke_key(3, "test")
    asked = client(registry, home)
    assert asked.post(PREDICT, headers={"x-api-key": good}).status_code == 200
    assert asked.post(PREDICT, headers={"authorization": f"bearer  {good}"}).status_code == 200
    assert code(asked.post(PREDICT, headers=bearer(expired))) == (401, "expired_key")
    assert code(asked.post(PREDICT, headers=bearer(revoked))) == (401, "revoked_key")
    for wrong in (good[:-1], good + "A", digest_of(good.encode()), "é\x00"):
        response = asked.post(PREDICT, headers={"x-api-key": wrong.encode()})
        assert code(response) == (401, "unknown_key")
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert wrong not in response.text
    assert code(asked.post(PREDICT, headers={"authorization": "Basic YTpi"})) == (401, "key_wanted")


def test_scopes_and_projects_are_kept_apart(registry: Registry, home: Path) -> None:
    asks = make(registry)
    tells = make(registry, name="judge", scopes=["feedback"])
    rules = make(registry, name="ops", project=ALL, scopes=["admin", "predict"])
    asked = client(registry, home)
    cases = [
        (asks, PREDICT, 200, ""),
        (asks, "/v1/tiny/explain", 200, ""),
        (asks, "/v2/models/tiny/infer", 200, ""),
        (asks, "/v2/models/tiny/versions/3/infer", 200, ""),
        (asks, "/v1/other/predict", 403, "wrong_project"),
        (asks, "/v1/tiny/feedback", 403, "wrong_scope"),
        (asks, "/v1/tiny/promote", 403, "wrong_scope"),
        (tells, "/v1/tiny/feedback", 200, ""),
        (tells, PREDICT, 403, "wrong_scope"),
        (rules, "/v1/other/predict", 200, ""),
        (rules, "/v1/tiny/rollback", 200, ""),
        (rules, "/v1/tiny/feedback", 403, "wrong_scope"),
    ]
    for key, path, status, word in cases:
        response = asked.post(path, headers=bearer(key))
        assert response.status_code == status, path
        if word:
            assert code(response) == (status, word)
    refused = asked.post("/v2/models/other/infer", headers=bearer(asks))
    assert refused.status_code == 403 and refused.json() == {"error": "Key app is for tiny, not for other."}
    assert asked.delete("/v1/tiny", headers=bearer(asks)).status_code == 403


def test_what_nobody_thought_of_needs_an_admin_of_everything() -> None:
    assert needed("/v1") == needed("/") == needed("//") == (ALL, "admin")
    assert needed("/v1/tiny") == ("tiny", "admin") and needed("/v2/models/tiny") == ("tiny", "admin")


def test_a_key_may_ask_so_often_and_is_told_when_again(registry: Registry, home: Path) -> None:
    key = make(registry, per_minute=3)
    other = make(registry, name="other", per_minute=1)
    asked = client(registry, home)
    assert [asked.post(PREDICT, headers=bearer(key)).status_code for _ in range(3)] == [200] * 3
    refused = asked.post(PREDICT, headers=bearer(key))
    assert code(refused) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert asked.post(PREDICT, headers=bearer(other)).status_code == 200


TAKE = """
import sys
from pathlib import Path
from serving.limits import RateLimits
limits = RateLimits(Path(sys.argv[1]))
print(sum(limits.take(7, per_minute=120) == 0 for _ in range(400)))
"""


def test_an_allowance_is_shared_by_all_processes(tmp_path: Path) -> None:
    started = time.monotonic()
    command = [sys.executable, "-c", TAKE, str(tmp_path / "rates")]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = sum(int(process.communicate()[0]) for process in asking)
    # A minute's worth at once; then one comes back every half second.
    assert 120 <= taken <= 121 + 2 * (time.monotonic() - started)


def test_keys_that_cannot_be_read_open_nothing_and_those_seen_stay(registry: Registry, home: Path) -> None:
    key, seen = make(registry), [True]

    def read() -> list:
        if not seen[0]:
            raise OSError("the disk is gone")
        return registry.keys()

    ring = KeyRing(read)
    guarded = Access(Starlette(), ring, RateLimits(home / "rates"), "auto", "127.0.0.1")
    asked = httpx.Client(transport=InProcess(RequestIds(guarded)), base_url="http://127.0.0.1")
    assert code(asked.post(PREDICT, headers=bearer(key))) == (503, "keys_unavailable")
    ring.refresh()
    seen[0] = False
    ring.refresh()
    assert asked.post(PREDICT, headers=bearer(key)).status_code == 404
    assert code(asked.post(PREDICT, headers=bearer(new_key()))) == (401, "unknown_key")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers, open as yet."""
    with serve(tmp_path_factory.mktemp("access"), workers=2) as running:
        yield running


def test_a_running_endpoint_follows_the_keys(endpoint: Running) -> None:
    endpoint.make_champion(register(endpoint.registry, endpoint.store, "first").version)
    ask = endpoint.client.post

    def status(**headers: str) -> int:
        # On a connection of its own: either worker may take it.
        return ask(PREDICT, content=png(9), headers={**PNG, "connection": "close", **headers}).status_code

    assert status() == 200
    key = make(endpoint.registry)
    until(lambda: all(status() == 401 for _ in range(8)))
    until(lambda: all(status(**bearer(key)) == 200 for _ in range(8)))
    assert endpoint.client.get("/v1/tiny").status_code == 200
    endpoint.registry.revoke_key(1, "test")
    until(lambda: all(status(**bearer(key)) == 401 for _ in range(8)))
    slow = make(endpoint.registry, name="slow", per_minute=5)
    until(lambda: status(**bearer(slow)) == 200)
    until(lambda: all(status(**bearer(slow)) == 429 for _ in range(8)))
    assert key not in endpoint.log.read_text()


def test_the_commands_of_the_platform_say_how_to_come_by_a_key(endpoint: Running) -> None:
    key, port = make(endpoint.registry, name="own"), endpoint.client.base_url.port
    until(lambda: endpoint.client.post(PREDICT, headers=bearer(key)).status_code not in (401, 403))
    with pytest.raises(BadInput, match="wants an API key") as refused:
        check_key("tiny", Settings(serving_port=port))
    assert "UPDRAFT_API_KEY" in refused.value.fix and "updraft keys create" in refused.value.fix
    with pytest.raises(BadInput, match="not known"):
        check_key("tiny", Settings(serving_port=port, api_key=new_key()))
    check_key("tiny", Settings(serving_port=port, api_key=key))
