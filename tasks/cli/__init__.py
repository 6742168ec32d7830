"""``updraft``: the command line.

Exit codes: 0 done; 1 failed; 2 bad input (the message names the field or file, and the fix). Heavy libraries are
imported by the commands that need them, so that ``--help`` is quick.
"""

import logging
import os
import sys
import traceback
from typing import NoReturn

import typer

from tasks.cli import agent, audit, data, keys, models, pipeline, platform
from tasks.cli.shared import err
from tasks.core.errors import BadInput, UpdraftError
from tasks.core.settings import settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Deep learning from labelled data to a live endpoint.",
)
for part in (platform.app, data.app, pipeline.app, agent.app, audit.app):
    app.registered_commands += part.registered_commands
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Runs the command line; the only place that turns errors into exit codes."""
    from tasks.platform.environment import ONE_THREAD, QUIET

    # The same arithmetic as in Airflow's tasks, so that both yield the same bits: before TensorFlow is imported.
    os.environ.update(QUIET | ONE_THREAD)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except UpdraftError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        _fail(_unexpected(error))


def _fail(error: UpdraftError) -> NoReturn:
    err.print("[red]error:[/]", end=" ")
    err.print(str(error), markup=False)
    sys.exit(error.exit_code)


def _unexpected(error: Exception) -> UpdraftError:
    """What to tell a person about a fault of ours; the stack trace goes to a file."""
    home = settings().home
    log = home / "logs" / "updraft.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError as fault:
        return BadInput(f"{home} cannot be written: {fault.strerror}.", "Set UPDRAFT_HOME to a folder that can be.")
    return UpdraftError(f"Unexpected: {type(error).__name__}: {error}.", f"Report it with the end of {log}.")
