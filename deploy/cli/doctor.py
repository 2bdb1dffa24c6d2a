"""`roughfed doctor`: is something wrong here, and what helps?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roughfed.deploy.cli.command import UNWELL, Answer, CommandContext, command
from roughfed.errors import ConfigError, RoughfedError
from roughfed.transport import control_socket

if TYPE_CHECKING:
    from roughfed.deploy.doctor.run import Examination
    from roughfed.deploy.doctor.site import DoctorSite

LIVES = {"server": "a server's directory", "client": "a client's directory", "none": "the installation alone"}


@dataclass(frozen=True, slots=True)
class DoctorFlags:
    """What to look at, and for how long."""

    only: Annotated[
        list[str], typer.Option("--only", metavar="NAME", help="This check alone; repeatable. See `--list`.")
    ] = field(default_factory=list[str])
    everything: Annotated[bool, typer.Option("--all", "-a", help="Show each thing that is in order, too.")] = False
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody over the network.")] = False
    within: Annotated[
        int, typer.Option(min=1, max=3600, help="Seconds for all of it; what has not ended by then is a warning.")
    ] = 25
    listing: Annotated[bool, typer.Option("--list", help="List the checks, and exit.")] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor", flags=DoctorFlags)(doctor)


def doctor(context: CommandContext, flags: DoctorFlags) -> Answer:
    """Look for what is wrong, and say what helps.

    In a server's directory, in a client's, or in any other for the installation alone. Nothing is changed, and a
    running server or client is not disturbed. The exit code is 8 when something fails; a warning alone leaves it 0.
    """
    from roughfed.deploy.doctor import CHECKS
    from roughfed.deploy.doctor.run import examine
    from roughfed.deploy.doctor.site import visit
    from roughfed.deploy.doctor.table import draw

    if flags.listing:
        for name, check in CHECKS.items():
            context.say(f"{name:<13} {check.at}")
        return Answer({name: check.at for name, check in CHECKS.items()})
    names = known(flags.only)
    if not context.folder.is_dir():
        raise ConfigError("there is no such directory", file=str(context.folder.absolute()), cure="name it with --dir")
    site = visit(context.folder, status=running(context), offline=flags.offline, within_s=float(flags.within))
    examination = examine(site, names)
    context.say(draw(examination, f"{LIVES[site.role]}, {context.folder.absolute()}", everything=flags.everything))
    return Answer(answer(site, examination), 0 if examination.well else UNWELL)


def known(only: list[str]) -> list[str]:
    """The names of checks that were asked for.

    Raises:
        ConfigError: one of them is none.
    """
    from roughfed.deploy.doctor import CHECKS
    from roughfed.registry import nearest

    for name in only:
        if name not in CHECKS:
            near = nearest(name, CHECKS)
            cure = f"did you mean {near}? " if near else ""
            raise ConfigError(f"there is no check {name!r}", key="--only", cure=f"{cure}one of: {', '.join(CHECKS)}")
    return only


def running(context: CommandContext) -> dict[str, Any] | None:
    """What the server that runs here says; None when none does, or none that can be asked."""
    try:
        return control_socket.ask(context.folder, "status")
    except RoughfedError:
        return None


def answer(site: DoctorSite, examination: Examination) -> dict[str, object]:
    """For `--json`."""
    from roughfed import __version__
    from roughfed.deploy.doctor.finding import CheckState

    return {
        "well": examination.well,
        "role": site.role,
        "running": site.running,
        "version": __version__,
        "counts": {state.value: examination.count(state) for state in CheckState},
        "findings": [
            {"check": name, **finding.plain()} for name, found in examination.findings.items() for finding in found
        ],
    }
