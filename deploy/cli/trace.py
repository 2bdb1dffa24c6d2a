"""`roughfed trace`: where the time of rounds went, as one file for Perfetto."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError, StorageError


@dataclass(frozen=True, slots=True)
class TraceFlags:
    """Which rounds, and where to."""

    out: Annotated[Path, typer.Option(help="The file to write; an existing one is replaced.")] = Path("trace.json")
    round: Annotated[int, typer.Option(metavar="N", min=0, help="This round. [default: the last one]")] = 0
    last: Annotated[int, typer.Option(metavar="K", min=0, help="The last K rounds, as one picture.")] = 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "trace", flags=TraceFlags)(trace)


def trace(context: CommandContext, flags: TraceFlags) -> Answer:
    """Write where the time of a round went: for ui.perfetto.dev or chrome://tracing.

    Phases and stages of the server; what every client did, as it said; transfers with their bytes; verdicts. Also while
    the server runs. The server keeps the traces of the last rounds ([metrics] traces).
    """
    from roughfed.deploy import aggregator
    from roughfed.files import write_durably
    from roughfed.server.trace.merge import merged
    from roughfed.server.trace.recorder import FOLDER, numbers, path_of

    if flags.round and flags.last:
        raise ConfigError("one round or the last ones, not both", key="--round", cure="leave --round or --last out")
    folder = aggregator.ServerFiles(context.folder).state / FOLDER
    known = numbers(folder)
    if not known:
        raise ConfigError(
            "no round has left a trace here",
            file=str(folder),
            cure="let a round end with metrics.traces above 0 in fed.toml (roughfed status)",
        )
    wanted = [flags.round] if flags.round else known[-(flags.last or 1) :]
    if missing := sorted(set(wanted) - set(known)):
        raise ConfigError(
            f"round {missing[0]} has no trace", key="--round", cure=f"choose one of {known[0]} to {known[-1]}"
        )
    document = merged([_read(path_of(folder, number)) for number in wanted])
    write_durably(flags.out, json.dumps(document, separators=(",", ":")).encode(), mode=0o600, sync=False)
    events = len(document["traceEvents"])
    context.say(f"wrote {flags.out}: {_rounds(wanted)}, {events} events; open it at ui.perfetto.dev (it stays local)")
    dropped = sum(int(each["dropped_events"]) for each in document["otherData"]["rounds"])
    if dropped:
        context.warn(f"{dropped} events found no room in the traces and are missing")
    return Answer({"rounds": wanted, "events": events, "dropped_events": dropped, "out": str(flags.out.absolute())})


def _rounds(wanted: list[int]) -> str:
    return f"round {wanted[0]}" if len(wanted) == 1 else f"rounds {wanted[0]} to {wanted[-1]}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or {"traceEvents", "otherData"} - found.keys():
        raise ConfigError("this is no trace", file=str(path), cure="delete it")
    return cast("dict[str, Any]", found)
