"""Making a model again from its card, and comparing the digests."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.stages import load_manifest
from tasks.core.store import open_store
from tasks.platform.local import Report, run_project

LAST = "export"
"""The last stage that makes the model; later ones judge it, against a champion that may be another one by now."""


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
        raise BadInput(f"{where} is neither a file nor in the store {store.uri}.", "Give the path of a card.json.")
    try:
        card: dict[str, Any] = json.loads(file.read_bytes() if file.is_file() else store.read_bytes(where))
        card["project"], card["spec"], card["lineage"], card["data"]["partitions"], card["candidate"]["weights"]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{where} is no model card.", "Give the card.json beside a card.html.") from None
    return card


def reproduce(card: Mapping[str, Any], *, run_id: str, finished: Report = lambda _: None) -> list[Compared]:
    """Runs every stage up to the exported model with the card's spec, and compares each artifact with the card's.

    What stands in the store is not made again, so that a later study does not count; in an empty store, everything is.

    Raises:
        BadInput: the card's project has no file here, or its spec is refused by this version.
    """
    project = card["project"]
    load_project(project)
    overrides = {field: value for field, value in card["spec"].items() if field != "name"}
    made = run_project(
        project,
        overrides=overrides,
        run_id=run_id,
        only=[row["partition"] for row in card["data"]["partitions"]],
        given=_study(card),
        until=LAST,
        finished=finished,
    )
    return [*_artifacts(card, made), _weights(card, made)]


def _study(card: Mapping[str, Any]) -> dict[str, list[Manifest]]:
    """The card's own study, if all of it stands: one that ran since would start a new search elsewhere."""
    store = open_store(settings().store_uri)
    paths = [link["path"] for link in card["lineage"] if link["stage"] == "tune"]
    standing = all(store.exists(path) for path in paths)
    return {"tune": [load_manifest(store, path) for path in paths]} if paths and standing else {}


def _artifacts(card: Mapping[str, Any], made: Mapping[str, list[Manifest]]) -> Iterator[Compared]:
    standing = {(m.stage, m.partition): m for manifests in made.values() for m in manifests}
    # A stage that came to the same bytes again stands there twice, of two versions of the code.
    for link in {(link["stage"], link["partition"], link["digest"]): link for link in card["lineage"]}.values():
        found = standing.get((link["stage"], link["partition"]))
        if found is None:
            continue  # it judges the model
        name = " ".join(filter(None, (link["stage"], link["partition"])))
        code = found.code_version != link["code_version"]
        why = "" if found.digest == link["digest"] else "its code" if code else "its spec, its inputs or the source"
        yield Compared(name, link["digest"], found.digest, why)


def _weights(card: Mapping[str, Any], made: Mapping[str, list[Manifest]]) -> Compared:
    then, now = card["candidate"]["weights"], made["train"][0].metrics["weights_digest"]
    return Compared("weights", then, now, "" if now == then else "what trained them")
