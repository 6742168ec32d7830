"""What the commands share: the two consoles, the arguments they have in common, the registry."""

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


def refuse_unless_promoted(gate: Manifest) -> None:
    """Raises `Refused` with the gates that failed, if any did."""
    if not gate.metrics["passed"]:
        failed = "; ".join(g["gate"] for g in gate.metrics["gates"] if not g["passed"])
        raise Refused(f"Not promoted: {failed}.", "The champion stays. See the gates above.")
