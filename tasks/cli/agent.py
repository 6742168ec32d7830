"""The command that makes a host take ranks of training jobs."""

from typing import Annotated

import typer

from tasks.cli.shared import out
from tasks.core.settings import settings

app = typer.Typer()

Address = Annotated[str, typer.Option(help="Listen on this address only; other hosts must reach it.")]


@app.command()
def agent(address: Address = "0.0.0.0") -> None:
    """Run this host's ranks of training jobs that other hosts start (UPDRAFT_HOSTS), until told to end."""
    from tasks.training.jobs.agent import serve

    serve(settings(), address, lambda line: out.print(line, markup=False))
