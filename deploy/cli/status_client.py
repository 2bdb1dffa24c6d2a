"""`roughfed status` of one client: what its server says of it (--client), or what its own directory knows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from roughfed.deploy.cli.command import NOT_RUNNING, Answer, CommandContext, plural

Status = Mapping[str, Any]


def of_one(status: Status, name: str) -> dict[str, Any] | None:
    """What a running server says of a client, as plain data; None where it never heard of it."""
    from roughfed.deploy.cli.status_table import States, part

    client = next((each for each in status["clients"] if each["name"] == name), None)
    defence = part(status, "defence")
    reasons = dict(part(part(defence, "excluded"), name))
    held = part(status, "quarantined").get(name, "")
    vouched = part(defence, "vouched").get(name)
    if client is None and not reasons and not held and vouched is None:
        return None
    last = [each for each in defence.get("verdicts") or () if each["client"] == name]
    groups = [each for each in status.get("groups") or () if name in each["members"]]
    return {
        "name": name,
        **({} if client is None else client),
        "held": held,
        "vouched": vouched,
        "late": client is not None and States(status).of(client) == "late",
        "excluded_for": reasons,
        "last_verdict": {"round": defence.get("round"), **last[0]} if last else None,
        "group": groups[0] if groups else None,
        "alerts": [each for each in status.get("alerts") or () if name in each["text"]],
    }


def told(found: Mapping[str, Any], *, now: float) -> Iterator[tuple[str, str]]:
    """The same for people: (label, words)."""
    yield from connection(found, now)
    yield from standing(found)
    yield from machine(found.get("machine") or {})


def connection(found: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    """Who it is, and since when it is here."""
    from roughfed.deploy.cli.status_table import span

    yield "client", found["name"]
    state = found.get("state", "never seen since the server started")
    done = f", {found['progress'] * 100:.0f} % done" if found.get("progress") and state == "training" else ""
    yield "state", state + done + (" (late)" if found["late"] else "")
    if found.get("since") is not None:
        yield "connected", f"for {span(now - found['since'])}, since {date(found['since'])}"
    if found.get("last_seen_s") is not None:
        yield "last seen", f"{span(found['last_seen_s'])} ago"
    if (end := found.get("expires_at")) is not None:
        yield "certificate", (f"ends in {span(end - now)}" if end > now else "has ended") + f", {date(end)}"
    if found.get("software"):
        yield "software", f"roughfed {found['software']} on {found.get('device', '')}"


def standing(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What became of its updates, and what is said of it."""
    from roughfed.report.words import reason

    if found["held"]:
        yield "quarantined", f"{reason(found['held'])}; roughfed release {found['name']} asks it again"
    if found["vouched"] is not None:
        because = f" ({found['vouched']})" if found["vouched"] else ""
        until = f"until: roughfed vouch {found['name']} --withdraw"
        yield "vouched for", f"by the operator{because}: the defence spares it, {until}"
    if "accepted" in found:
        yield "in the sum", f"{found['accepted']}x so far"
    for why, number in found["excluded_for"].items():
        yield "left out", f"{number}x: {reason(why)}"
    if (last := found["last_verdict"]) is not None:
        score = "" if last["score"] is None else f" (score {last['score']:.3g})"
        yield f"round {last['round']}", (reason(last["reason"]) if last["reason"] else "in the sum") + score
    if (group := found["group"]) is not None:
        yield "group", f"{', '.join(group['members'])} ({group['stage']})"
    for each in found["alerts"]:
        yield "alert", f"{each['name']}: {each['text']}"


def machine(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a client tells of its machine."""
    from roughfed.deploy.cli.status_table import span
    from roughfed.report.scale import percent, size

    gpu, busy = told.get("gpu_memory_bytes"), told.get("gpu_utilization")
    used = [f"{percent(busy)} busy"] if busy is not None else []
    if told.get("rss_bytes") is not None:
        yield "memory", size(told["rss_bytes"])
    if gpu is not None or used:
        yield "GPU", ", ".join([*([size(gpu)] if gpu is not None else []), *used])
    if told.get("train_seconds") is not None:
        of = "" if told.get("samples") is None else f", {told['samples']:,} examples"
        yield "last training", span(told["train_seconds"]) + of


def status_client(context: CommandContext) -> Answer:
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
    yield f"took part    in {plural(found['rounds'], 'round')} of {plural(found['runs'], 'run')}"
    yield f"certificate  ends {date(found['certificate_ends'])}"


def since(found: Mapping[str, Any]) -> str:
    """Who said so, and when; what client.toml says where that is something else."""
    noted = found["accepted"]
    told = "" if noted is None else f" ({noted['mode']} since {date(noted['since'])}, {noted['said']})"
    return told + (f"; client.toml: {found['policy']}" if found["policy"] != found["server_sees"] else "")


def in_vain(last: Mapping[str, Any]) -> str:
    """The last refusal, as a warning."""
    return (
        f"the server asked to see {last['mode']}, {plural(last['times'], 'time')}, last {date(last['last'])} "
        f"(run {last['run']}): refused, since this client shows {last['held']} at most. Ask whoever runs the server why"
    )


def at(folder: Path) -> str:
    """The flag that names the directory, where it is another one than the current."""
    return "" if folder == Path() else f" --dir {folder}"


def date(at_s: float) -> str:
    """A moment, to the minute, on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
