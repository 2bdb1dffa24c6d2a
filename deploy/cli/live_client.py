"""Everything that a status says of one client. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from roughfed.deploy.cli.live_clients import Words
from roughfed.deploy.cli.live_facts import Fact, grid
from roughfed.deploy.cli.live_words import clean, size, span
from roughfed.report.words import reason

Status = Mapping[str, Any]


def of_one(status: Status, name: str) -> dict[str, Any] | None:
    """What is known of a client, as plain data; None where nothing is."""
    client = next((each for each in status["clients"] if each["name"] == name), None)
    defence: Mapping[str, Any] = status.get("defence") or {}
    reasons = dict((defence.get("excluded") or {}).get(name, {}))
    held = (status.get("quarantined") or {}).get(name, "")
    if client is None and not reasons and not held:
        return None
    last = [each for each in defence.get("verdicts") or () if each["client"] == name]
    groups = [each for each in status.get("groups") or () if name in each["members"]]
    return {
        "name": name,
        **({} if client is None else client),
        "held": held,
        "late": client is not None and Words(status).of(client) == "late",
        "excluded_for": reasons,
        "last_verdict": {"round": defence.get("round"), **last[0]} if last else None,
        "group": groups[0] if groups else None,
        "alerts": [each for each in status.get("alerts") or () if name in each["text"]],
    }


def draw_client(found: Mapping[str, Any], *, now: float) -> RenderableType:
    """The same for people."""
    found = clean(found)
    return grid([*_connection(found, now), *_standing(found), *_machine(found)])


def _connection(found: Mapping[str, Any], now: float) -> Iterator[Fact]:
    yield Fact("client", Text(str(found["name"]), style="bold"))
    state = str(found.get("state", "never seen since the server started"))
    done = f", {found['progress']:.0%} done" if found.get("progress") and state == "training" else ""
    late = " (late)" if found["late"] else ""
    yield Fact("state", Text(f"{state}{done}{late}", style="yellow" if late else ""))
    if found.get("since") is not None:
        yield Fact("connected", Text(f"for {span(now - found['since'])}, since {_moment(found['since'])}"))
    if found.get("last_seen_s") is not None:
        yield Fact("last seen", Text(f"{span(found['last_seen_s'])} ago"))
    if found.get("expires_at") is not None:
        left = found["expires_at"] - now
        words = f"ends in {span(left)}" if left > 0 else "has ended"
        yield Fact("certificate", Text(f"{words}, {_moment(found['expires_at'])}"))
    if found.get("software"):
        yield Fact("software", Text(f"roughfed {found['software']} on {found.get('device', '')}"))


def _standing(found: Mapping[str, Any]) -> Iterator[Fact]:
    if found["held"]:
        yield Fact("quarantined", Text(reason(found["held"]), style="red"))
        yield Fact("", Text(f"> roughfed release {found['name']}", style="green"))
    if "accepted" in found:
        yield Fact("in the sum", Text(f"{found['accepted']} rounds so far"))
    for why, number in found["excluded_for"].items():
        yield Fact("left out", Text(f"{number}x: {reason(why)}", style="yellow"))
    if (last := found["last_verdict"]) is not None:
        words = reason(last["reason"]) if last["reason"] else "in the sum"
        score = "" if last["score"] is None else f" (score {last['score']:.3g})"
        yield Fact(f"in round {last['round']}", Text(words + score))
    if (group := found["group"]) is not None:
        yield Fact("group", Text(f"{', '.join(group['members'])} ({group['stage']})"))
    for each in found["alerts"]:
        yield Fact("alert", Text(f"{each['name']}: {each['text']}", style="yellow"))


def _machine(found: Mapping[str, Any]) -> Iterator[Fact]:
    machine: Mapping[str, Any] = found.get("machine") or {}
    if machine.get("rss_bytes") is not None:
        yield Fact("memory", Text(size(machine["rss_bytes"])))
    if machine.get("gpu_memory_bytes") is not None or machine.get("gpu_utilization") is not None:
        used = "" if machine.get("gpu_utilization") is None else f"{machine['gpu_utilization']:.0%} busy"
        memory = "" if machine.get("gpu_memory_bytes") is None else size(machine["gpu_memory_bytes"])
        yield Fact("GPU", Text(", ".join(part for part in (memory, used) if part)))
    if machine.get("train_seconds") is not None:
        of = "" if machine.get("samples") is None else f", {machine['samples']:,} examples"
        yield Fact("last training", Text(f"{span(machine['train_seconds'])}{of}"))


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
