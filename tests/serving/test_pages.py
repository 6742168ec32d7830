"""The pages that people look at: complete, and nothing in them from outside."""

import re
from collections.abc import Iterator

import httpx
import pytest
from starlette.routing import Route

from serving.health import Health
from serving.pages import Pages
from serving.v1 import V1
from tasks.core.settings import ROOT
from tests.serving.in_process import asking

LINK = re.compile(r"""(?:href|src)="([^"]*)"|from "([^"]*)";""")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with asking(tmp_path_factory.mktemp("pages"), "tiny") as client:
        yield client


def test_the_page_and_all_that_it_loads_is_served_from_here(client: httpx.Client) -> None:
    waiting, seen = ["/docs"], set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        response = client.get(path)
        assert response.status_code == 200, path
        if path != "/openapi.json":
            assert "http://" not in response.text and "https://" not in response.text
            linked = {one or other for one, other in LINK.findall(response.text)}
            waiting += [link for link in linked if link.startswith("/") and link not in seen]
            assert all(link.startswith(("/", "#", "data:,")) for link in linked)
    assert {"/static/docs.js", "/static/docs.css", "/static/endpoint.js", "/static/answers.js"} <= seen


@pytest.mark.parametrize("path", ["/docs", "/docs/tiny", "/docs/idle", "/static/docs.js"])
def test_a_browser_may_load_nothing_from_outside(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"


def test_media_types_and_tags(client: httpx.Client) -> None:
    for path, media in [
        ("/docs/tiny", "text/html"),
        ("/static/docs.js", "text/javascript"),
        ("/static/docs.css", "text/css"),
    ]:
        response = client.get(path)
        assert response.headers["content-type"].startswith(media)
        again = client.get(path, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/docs/other", "/static/docs.txt", "/static/..%2fv1.py", "/static/pages.py"])
def test_other_pages_are_not_found_in_our_shape(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert set(response.json()["error"]) == {"code", "message", "request_id"}


def test_a_person_who_asks_for_another_project_gets_the_page_with_those_there_are(client: httpx.Client) -> None:
    response = client.get("/docs/other", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (response.status_code, response.text) == (404, client.get("/docs").text)


def test_every_route_is_documented() -> None:
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    routes = [Route("/", lambda _: None), *V1(*[None] * 3).routes(), *Pages(None).routes(), *Health(None).routes()]
    for route in routes:
        (method,) = route.methods - {"HEAD"}
        assert f"`{method} {route.path}`" in page


def test_a_browser_is_led_to_the_page_and_a_program_is_not(client: httpx.Client) -> None:
    shown = client.get("/", headers={"accept": "text/html,*/*"}, follow_redirects=False)
    assert (shown.status_code, shown.headers["location"]) == (307, "/docs")
    assert client.get("/").json()["projects"] == {"tiny": 1, "idle": None}
