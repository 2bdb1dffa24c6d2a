"""All commands in one place, and the boundary at which errors become exit codes."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer
import typer.main

from roughfed import __version__
from roughfed.deploy.cli import (
    audit,
    authority,
    backup,
    bench,
    chaos,
    demo,
    disclosed,
    doctor,
    enrol,
    export,
    init,
    join,
    labels,
    ledger,
    members,
    operate,
    personal,
    plan,
    release,
    report,
    restore,
    roster,
    rotate,
    rounds,
    server,
    simulate,
    status,
    trace,
    vouch,
)
from roughfed.deploy.cli.command import INTERRUPTED, print_json
from roughfed.deploy.cli.faults import install, ours, silence_stdout, tell, tell_person
from roughfed.errors import RoughfedError

UsageError = cast(
    "type[Exception]", typer.BadParameter.__base__
)  # the only public way to it: typer brings its own click from 0.20 on
ABOUT = "Federated learning for rough data: private, scattered, long-tailed, mislabelled, still arriving."


def build() -> typer.Typer:
    """The application with every command."""
    app = typer.Typer(
        name="roughfed",
        help=ABOUT,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    for part in (
        demo,
        init,
        server,
        members,
        enrol,
        roster,
        join,
        plan,
        status,
        operate,
        release,
        vouch,
        rotate,
        backup,
        restore,
        rounds,
        trace,
        report,
        export,
        ledger,
        disclosed,
        labels,
        personal,
        doctor,
        audit,
        authority,
        bench,
        simulate,
        chaos,
    ):
        part.register(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: without the program's name.

    Returns:
        the exit code (`command.EXIT_CODES`).
    """
    as_json, debug = "--json" in arguments, "--debug" in arguments
    install(as_json=as_json, debug=debug)
    try:
        # Not the Typer object itself: its call would put an excepthook of its own in the place of ours.
        program = typer.main.get_command(build())
        return program(args=list(arguments) or ["--help"], prog_name="roughfed", standalone_mode=False) or 0
    except UsageError as error:
        return _misused(error, arguments, as_json=as_json)
    except RoughfedError as error:
        tell(error, as_json=as_json, debug=debug)
        return error.exit_code
    except BrokenPipeError:
        silence_stdout()
        return 128 + signal.SIGPIPE
    except (OSError, sqlite3.Error) as error:
        tell(refused := ours(error), as_json=as_json, debug=debug)
        return refused.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED


def _misused(error: Exception, arguments: Sequence[str], *, as_json: bool) -> int:
    names = [a for a in arguments[:2] if not a.startswith("-")]
    message = str(getattr(error, "format_message", lambda: error)()).rstrip(".")
    cure = f"roughfed {names[0]} --help" if names and "No such command" not in message else "roughfed --help"
    data = {"reason": "usage", "message": message, "file": "", "key": "", "cause": message, "cure": cure}
    tell_person(data)
    if as_json:
        print_json({"error": data})
    return 2


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"roughfed {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version  # its callback has answered
