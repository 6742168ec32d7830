"""Making a model again from its card, and comparing the digests."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.core.artifacts import MANIFEST, Manifest, describe_files
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.stages import load_manifest
from tasks.core.store import Store, open_store
from tasks.platform.local import Report, run_project

LAST = "export"
"""The last stage that makes the model; later ones judge it, against a champion that may be another one by now."""

SEARCH = "tune"

Place = tuple[str, str | None]
"""A stage, and its partition if it has one."""


@dataclass(frozen=True)
class Compared:
    """One artifact of the card beside the one that stands now.

    Attributes:
        name: its stage, and its partition if it has one.
        why: if they differ: what else does.
    """

    name: str
    then: str
    now: str
    why: str = ""

    @property
    def same(self) -> bool:
        """Whether the digests are equal."""
        return self.then == self.now


def read_card(where: str) -> dict[str, Any]:
    """The card in a file ``card.json``, or at that path in the store.

    Raises:
        BadInput: there is none, or it is no card.
    """
    file, store = Path(where), open_store(settings().store_uri)
    if not file.is_file() and not store.exists(where):
        fix = "Give the card.json of the installation that made it: tab Model of the project's DAG, as JSON."
        raise BadInput(f"{where} is neither a file nor in the store {store.uri}.", fix)
    try:
        card: dict[str, Any] = json.loads(file.read_bytes() if file.is_file() else store.read_bytes(where))
        card["project"], card["spec"], card["lineage"], card["data"]["partitions"], card["candidate"]["weights"]
        card["study"]["trials"], card["environment"]["libraries"]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{where} is no model card.", "Give the card.json beside a card.html.") from None
    return card


def reproduce(card: Mapping[str, Any], *, run_id: str, finished: Report = lambda _: None) -> list[Compared]:
    """Runs every stage up to the exported model with the card's spec, and compares each artifact with the card's.

    What stands in the store is not made again; in an empty store, everything is but the search, whose trials the card
    tells. A card that does not tell them has the search run again.

    Raises:
        BadInput: the card's project has no file here, its spec is refused by this version, or its study was changed.
    """
    project = card["project"]
    load_project(project)
    overrides = {field: value for field, value in card["spec"].items() if field != "name"}
    made = run_project(
        project,
        overrides=overrides,
        run_id=run_id,
        only=[row["partition"] for row in card["data"]["partitions"]],
        given=_study(card, open_store(settings().store_uri)),
        until=LAST,
        finished=finished,
    )
    found = {(manifest.stage, manifest.partition): manifest for stage in made.values() for manifest in stage}
    return [*_artifacts(card, found), _weights(card, found["train", None])]


def other_libraries(card: Mapping[str, Any]) -> list[str]:
    """The libraries that the card names in another version than the one installed here, in words."""
    made = card["environment"]["libraries"]
    return [f"{name} {then}, here {now}" for name, then in made.items() if (now := _installed(name)) != then]


def _study(card: Mapping[str, Any], store: Store) -> dict[str, list[Manifest]]:
    """The card's own study, put into the store where it does not stand.

    It is not searched again: which trial is the best follows from the seed only as long as no trial learns from others
    that ran beside it, and no earlier study told it where to begin.
    """
    told = [Manifest.model_validate(each) for each in card["study"].get("told", ())]
    for manifest in told:
        if not store.exists(manifest.path):
            _put(store, manifest)
        elif load_manifest(store, manifest.path).outputs != manifest.outputs:
            fix = "Make it again in an empty home: set UPDRAFT_HOME to a new folder."
            raise BadInput("The same study has been searched here and came to other trials than the card's.", fix)
    return {SEARCH: told} if told else {}


def _put(store: Store, study: Manifest) -> None:
    out = store.scratch(f"study-{study.key[:32]}")
    (out / "trials.json").write_text(json.dumps(study.metrics["trials"], indent=2), encoding="utf-8")
    if describe_files(out) != study.outputs:
        raise BadInput("The trials that this card tells are not those that were run.", "Give the card as it was made.")
    (out / MANIFEST).write_text(study.to_json(), encoding="utf-8")
    store.publish(out, study.folder)


def _artifacts(card: Mapping[str, Any], found: Mapping[Place, Manifest]) -> Iterator[Compared]:
    """Inputs before what was made from them."""
    changed: set[str] = set()
    # A stage that came to the same bytes again stands there twice, of two versions of the code.
    for link in {(link["stage"], link["partition"], link["digest"]): link for link in card["lineage"]}.values():
        now = found.get((link["stage"], link["partition"]))
        if now is None or now.stage == SEARCH:
            continue  # it judges the model, or stands in the card
        name = " ".join(filter(None, (now.stage, now.partition)))
        why = "" if now.digest == link["digest"] else _why(link, now, changed)
        changed |= {now.path} if why else set()
        yield Compared(name, link["digest"], now.digest, why)


def _why(then: Mapping[str, Any], now: Manifest, changed: set[str]) -> str:
    """In words: what else differs of an artifact whose digest does."""
    if any(path in changed for paths in now.inputs.values() for path in paths):
        return "what it is made from"
    if now.code_version != then["code_version"]:
        return "its code"
    if now.key == then["key"]:
        return "how this machine or a library computes: code, spec and inputs are the same"
    return "the source" if now.stage == "ingest" else "its spec, or what it needs beside: weights that it starts from"


def _weights(card: Mapping[str, Any], train: Manifest) -> Compared:
    then, now = card["candidate"]["weights"], train.metrics["weights_digest"]
    return Compared("weights", then, now, "" if now == then else "how they were trained, or this machine")


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
