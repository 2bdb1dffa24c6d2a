"""`roughfed status` in a client's directory: who it is, and how much its server may see."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from roughfed.deploy.cli.command import NOT_RUNNING, Answer, Context


def status_client(context: Context) -> Answer:
    """What a client's directory knows; the exit code is 6 when no client runs there.

    Raises:
        ConfigError: it is not enrolled, or client.toml is wrong.
    """
    from roughfed.deploy.membership import membership

    found = membership(context.folder)
    for line in lines(found, context.folder):
        context.say(line)
    if found["refused"]:
        context.warn(in_vain(found["refused"][0]))
    return Answer(found, 0 if found["running"] else NOT_RUNNING)


def lines(found: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """For people, one fact a line."""
    runs = "runs" if found["running"] else f"does not run; start it: roughfed join{at(folder)}"
    yield f"client       {found['name']} of {found['federation']}, {runs}"
    yield f"server       {found['server']}, CA {found['ca'][:16]}"
    yield f"it may see   {found['server_sees']} at most{since(found)}"
    yield f"took part    in {found['rounds']} rounds of {found['runs']} runs"
    yield f"certificate  ends {date(found['certificate_ends'])}"


def since(found: Mapping[str, Any]) -> str:
    """Who said so, and when; what client.toml says where that is something else."""
    noted = found["accepted"]
    told = "" if noted is None else f" ({noted['mode']} since {date(noted['since'])}, {noted['said']})"
    return told + (f"; client.toml: {found['policy']}" if found["policy"] != found["server_sees"] else "")


def in_vain(last: Mapping[str, Any]) -> str:
    """The last refusal, as a warning."""
    return (
        f"the server asked to see {last['mode']}, {last['times']} times, last {date(last['last'])} "
        f"(run {last['run']}): refused, since this client shows {last['held']} at most. Ask whoever runs the server why"
    )


def at(folder: Path) -> str:
    """The flag that names the directory, where it is another one than the current."""
    return "" if folder == Path() else f" --dir {folder}"


def date(at_s: float) -> str:
    """A moment, to the minute, on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
