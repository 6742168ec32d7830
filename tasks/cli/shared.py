"""What the commands share: the two consoles, the arguments they have in common, the registry."""

import getpass
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.console import Console

from tasks.core.artifacts import Manifest
from tasks.core.errors import Refused
from tasks.core.registry import Registry
from tasks.core.settings import settings

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ProjectName = Annotated[str, typer.Argument(help="The project: a file projects/NAME.yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the spec.")]


def registry() -> Registry:
    """The registry of this installation."""
    return Registry(settings().registry_url)


def user() -> str:
    """Who gives this command, for the audit log."""
    return getpass.getuser()


def refuse_unless_promoted(manifests: Mapping[str, Sequence[Manifest]]) -> None:
    """Raises `Refused` if a run's candidate did not become champion, and says why.

    Args:
        manifests: the run's, by stage.
    """
    gate, card = manifests["gate"][0], manifests["card"][0]
    where = f"{settings().store_uri}/{card.folder}/card.html"
    if not gate.metrics["passed"]:
        raise Refused(
            f"Not promoted: {'; '.join(gate.metrics['why'])}.", f"The champion stays. The model card: {where}"
        )
    if "deploy" not in manifests:
        fix = f"Look at its card, {where}; then: updraft run {gate.project} --approve"
        raise Refused("Not promoted: the candidate passed its gates, and waits for a person's approval.", fix)
