"""`roughfed pause`, `resume` and `stop`: one word to a running server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.transport import control_socket


@dataclass(frozen=True, slots=True)
class StopFlags:
    """How long to stay."""

    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return before the server has ended.")] = False


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "pause")(pause)
    command(app, "resume")(resume)
    command(app, "stop", flags=StopFlags)(stop)


def pause(context: CommandContext) -> Answer:
    """Let the open round end, and open no new one.

    A server that is started again is not paused any more.
    """
    answer = control_socket.ask(context.folder, "pause")
    context.say("paused: the open round goes on, no new one is opened; roughfed resume")
    return Answer(answer)


def resume(context: CommandContext) -> Answer:
    """Open rounds again."""
    answer = control_socket.ask(context.folder, "resume")
    context.say("resumed")
    return Answer(answer)


def stop(context: CommandContext, flags: StopFlags) -> Answer:
    """Drain the server, and wait until it has ended.

    Started again, it goes on where it stopped.
    """
    answer = control_socket.ask(context.folder, "stop")
    if flags.no_wait:
        context.say("stopping")
        return Answer(answer)
    control_socket.wait_until_gone(context.folder)
    context.say("stopped; roughfed server goes on where it stopped")
    return Answer({"stopped": True})
