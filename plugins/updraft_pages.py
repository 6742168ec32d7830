"""Pages of a project in Airflow's UI: tabs on each DAG about its partitions, its last training, and its models."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from tasks.core.artifacts import MANIFEST, Manifest
from tasks.core.errors import UpdraftError
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.stages import load_manifest
from tasks.core.store import Store, open_store

PREFIX = "/updraft"

_SEALED = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
"""The pages show what stands in people's data: nothing in it may run or load anything."""

_PLOTS = {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:"
}
"""The report's plots are scripts: they run as nobody's, and load nothing."""

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:1.5rem}}h1{{font-size:1.5rem}}table{{border-collapse:collapse}}
td,th{{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #dfe4ea}}td:first-child{{white-space:nowrap}}</style>
</head><body><h1>{title}</h1>{body}</body></html>"""

_HEAD = "<tr><th>partition<th>rows in<th>published<th>quarantined<th>reasons<th>Data Docs<th>quarantine</tr>"

_BACK = "<p><a href='../data'>All partitions</a></p>"

_SHOWN = 500
"""Rows that a page shows."""

# Airflow's own check of who asks: a mounted application is open to everybody without it.
app = FastAPI(title="Updraft", docs_url=None, redoc_url=None, openapi_url=None)
_may_read = Depends(requires_access_dag(method="GET"))


@app.get("/{dag_id}/data", dependencies=[_may_read])
def data(dag_id: str) -> HTMLResponse:
    """The project's partitions: rows in, published and quarantined, worst reasons, links."""
    project, store = _project(dag_id), open_store(settings().store_uri)
    rows = "".join(_row(day, manifest) for day, manifest in _partitions(project, store))
    body = f"<table>{_HEAD}{rows}</table>" if rows else "<p>No partition has been validated yet.</p>"
    return HTMLResponse(_PAGE.format(title=f"Data of {escape(project)}", body=body), headers=_SEALED)


@app.get("/{dag_id}/data_docs/{day}", dependencies=[_may_read])
def data_docs(dag_id: str, day: str) -> HTMLResponse:
    """Great Expectations' page about a partition."""
    page = _read(f"{_project(dag_id)}/data_docs/date={_date(day)}/index.html")
    return HTMLResponse(page.replace("<body>", f"<body>{_BACK}", 1), headers=_SEALED)


@app.get("/{dag_id}/quarantine/{day}.jsonl", dependencies=[_may_read])
def quarantine_lines(dag_id: str, day: str) -> PlainTextResponse:
    """A partition's rejected rows, whole, as JSON lines."""
    return PlainTextResponse(_read(_rejected(dag_id, day)), headers=_SEALED)


@app.get("/{dag_id}/quarantine/{day}", dependencies=[_may_read])
def quarantine(dag_id: str, day: str) -> HTMLResponse:
    """A partition's rejected rows, the first of them: which, why, and how to take them in once they are corrected."""
    rows = [json.loads(line) for line in _read(_rejected(dag_id, day)).split("\n") if line]
    cells = ((row["row"]["row_id"], row["row"]["entity"], row["reason"], row["detail"] or "") for row in rows[:_SHOWN])
    table = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) + "</tr>" for row in cells)
    replay = f"<p>Corrected at the source, they come in with:<pre>{escape(rows[0]['replay'])}</pre>" if rows else ""
    body = f"{_BACK}<table><tr><th>row<th>entity<th>reason<th>what was seen</tr>{table}</table>" if rows else _BACK
    count = f"{len(rows)} rows, the first {_SHOWN} here" if len(rows) > _SHOWN else f"{len(rows) or 'No'} rows"
    body += f"<p>{count}. <a href='{day}.jsonl'>As JSON lines</a>{replay}"
    return HTMLResponse(_PAGE.format(title=f"Quarantine of {day}", body=body), headers=_SEALED)


@app.get("/{dag_id}/training", dependencies=[_may_read])
def training(dag_id: str) -> HTMLResponse:
    """The report of the last training: learning curves, and the study."""
    project = _project(dag_id)
    path = _standing(project, "report").get("")
    if path is None:
        body = "<p>Nothing has been trained yet.</p>"
        return HTMLResponse(_PAGE.format(title=f"Training of {escape(project)}", body=body), headers=_SEALED)
    return HTMLResponse(_read(path.removesuffix(MANIFEST) + "report.html"), headers=_PLOTS)


@app.get("/{dag_id}/model", dependencies=[_may_read])
def model(dag_id: str) -> HTMLResponse:
    """The model card of the last candidate, promoted or not."""
    return _card(_project(dag_id), "candidate")


@app.get("/{dag_id}/model/champion", dependencies=[_may_read])
def champion(dag_id: str) -> HTMLResponse:
    """The champion's model card."""
    return _card(_project(dag_id), "champion")


@app.get("/{dag_id}/model/{which}.json", dependencies=[_may_read])
def card_json(dag_id: str, which: str) -> Response:
    """The same card for programs, and for `updraft reproduce`."""
    folder = _cards(_project(dag_id)).get(which)
    if folder is None:
        raise HTTPException(404, "There is no such card.")
    return Response(_read(f"{folder}/card.json"), media_type="application/json", headers=_SEALED)


class UpdraftPages(AirflowPlugin):
    """Puts the pages into Airflow's API server, and a tab that shows them on every DAG."""

    name = "updraft_pages"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "Updraft pages"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": name, "href": f"{PREFIX}/{{DAG_ID}}/{page}", "destination": "dag", "url_route": f"updraft-{page}"}
        for name, page in (("Data", "data"), ("Training", "training"), ("Model", "model"))
    ]


def _card(project: str, which: str) -> HTMLResponse:
    """A model card, with a line above it that leads to the other."""
    cards, here = _cards(project), f"{PREFIX}/{project}_train/model"
    if which not in cards:
        body = f"<p>There is no card of a {which} yet.</p>"
        return HTMLResponse(_PAGE.format(title=f"Model of {escape(project)}", body=body), headers=_SEALED)
    pages = {"candidate": ("the last candidate", here), "champion": ("the champion", f"{here}/champion")}
    others = [f"<a href='{url}'>{name}</a>" for card, (name, url) in pages.items() if card in cards and card != which]
    links = " · ".join([*others, f"<a href='{here}/{which}.json'>as JSON</a>"])
    line = f"<p class='soft'>This is {pages[which][0]}. {links}</p>"
    page = _read(f"{cards[which]}/card.html").replace("<body>", f"<body>{line}", 1)
    return HTMLResponse(page, headers=_SEALED)


def _cards(project: str) -> Mapping[str, str]:
    """Of candidate and champion, where there is one, the folder of its card."""
    registry = Registry(settings().registry_url)
    try:
        standing, best = registry.partitions(project, "card").get(""), registry.alias(project)
    finally:
        registry.close()
    paths = {"candidate": standing, "champion": best and best.details.get("card")}
    return {which: path.removesuffix(f"/{MANIFEST}") for which, path in paths.items() if path}


def _partitions(project: str, store: Store) -> Iterator[tuple[str, Manifest | None]]:
    """Dates and the manifests that stand for them; None for one that was refused."""
    standing = _standing(project, "validate")
    paths = store.list(f"{project}/data_docs")
    for day in sorted({match[1] for path in paths if (match := re.search(r"date=([^/]+)/index\.html$", path))}):
        try:
            yield day, load_manifest(store, standing[day]) if day in standing else None
        except UpdraftError:
            yield day, None


def _standing(project: str, stage: str) -> Mapping[str, str]:
    """Partition to the manifest that stands for it."""
    registry = Registry(settings().registry_url)
    try:
        return registry.partitions(project, stage)
    finally:
        registry.close()


def _row(day: str, manifest: Manifest | None) -> str:
    links = f"<td><a href='data_docs/{escape(day)}'>rules</a><td><a href='quarantine/{escape(day)}'>rows</a>"
    if manifest is None:
        return f"<tr><td>{escape(day)}<td colspan=4>refused: see the validate task's log{links}</tr>"
    rows, reasons = manifest.rows, ", ".join(f"{code} {count}" for code, count in manifest.reasons.items())
    cells = (rows.received, rows.published, rows.quarantined, escape(reasons))
    return f"<tr><td>{escape(day)}" + "".join(f"<td>{cell}" for cell in cells) + links + "</tr>"


def _rejected(dag_id: str, day: str) -> str:
    return f"{_project(dag_id)}/quarantine/date={_date(day)}/rows.jsonl"


def _read(path: str) -> str:
    try:
        return open_store(settings().store_uri).read_bytes(path).decode()
    except FileNotFoundError:
        raise HTTPException(404, "There is no such page any more: run the DAG again.") from None


def _project(dag_id: str) -> str:
    match = re.fullmatch(r"([a-z][a-z0-9_]{0,39})_(features|train|monitor)", dag_id)
    if not match:
        raise HTTPException(404, f"{dag_id} is no DAG of Updraft.")
    return match[1]


def _date(day: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        raise HTTPException(404, "Name a date, YYYY-MM-DD.")
    return day
