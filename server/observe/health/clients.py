"""Alerts about one client, round after round: the defence leaves it out, or it gives nothing that counts."""

from __future__ import annotations

from collections import Counter

from roughfed.report.words import BLAMELESS, reason
from roughfed.server.defence.vouched import SPARING
from roughfed.server.observe.health.alert import Firing, some
from roughfed.server.observe.health.inputs import HealthInputs, PastRound
from roughfed.server.observe.health.updates import ONLY_ONE

LAST, LEAST = 10, 5
"""A client's last rounds that count, and with how few nothing is said."""
OUT_SHARE, OUT_CALM = 2 / 3, 1 / 2
"""Of its last rounds, in which the defence left it out."""
COPY = "copy"
FAILED = 3
"""Rounds in a row with the same reason."""
SITS_OUT = ("sat-out", "left-out", "window", "load", "battery")
"""Reasons with which a client refuses a job for once; its owner's hours and limits among them."""
NO_FAULT = ("client-away", *(f"client-refused: {why}" for why in SITS_OUT))


def left_out(inputs: HealthInputs, stands: bool) -> Firing | None:
    """The defence leaves the same client out most of the time: hostile, or its data are unlike the others'."""
    judged = [each for each in inputs.rounds if each.defence.judged and each.defence.rule not in ONLY_ONE]
    counts = Counter(name for each in judged for name in each.defence.left_out)
    found: dict[str, str] = {}
    for name in inputs.here & counts.keys():
        last = [each for each in judged if name in each.accepted or name in each.defence.left_out][-LAST:]
        out = sum(each.defence.left_out.get(name, COPY) != COPY for each in last)  # a copied client did nothing
        if len(last) >= LEAST and out >= (OUT_CALM if stands else OUT_SHARE) * len(last):
            found[name] = f"{name} in {out} of its last {len(last)} rounds"
    if inputs.finished or not found:
        return None
    newest, first = judged[-1].defence, min(found)
    full = (
        f", as many as it is meant to hold against ({newest.tolerated})" if 0 < newest.tolerated <= len(found) else ""
    )
    spares = f"roughfed vouch {first}" if newest.rule == SPARING else f'defence.rule = "{SPARING}" with roughfed vouch'
    return Firing(
        f"{newest.rule} leaves out the same clients again and again{full}: {some(found.values())}",
        f"roughfed status --client {first}: why. Ask its owner what its data are: where they are only unlike those of "
        f"others, {spares} spares it; roughfed quarantine {first} if it is hostile",
    )


def failing(inputs: HealthInputs, stands: bool) -> Firing | None:
    """A client fails or refuses its job with the same reason in each round, or sends what must be refused."""
    del stands  # a round that it gets right ends it
    counts = Counter(name for each in inputs.rounds for name in each.excluded)
    found: dict[str, str] = {}
    for name in inputs.here & counts.keys():
        last = [why for each in inputs.rounds if (why := _own_fault(each, name)) is not None][-FAILED:]
        if len(last) == FAILED and len(set(last)) == 1 and last[0]:
            why = "".join(each if each.isprintable() else "?" for each in reason(last[0]))  # the client's own word
            found[name] = f"{name} ({why})"
    if inputs.finished or not found:
        return None
    first = min(found)
    return Firing(
        f"nothing that counts came in {FAILED} rounds in a row, for the same reason, from {some(found.values())}",
        f"read the log of {first}; roughfed doctor on its machine; roughfed quarantine {first} leaves it out meanwhile",
    )


def _own_fault(each: PastRound, name: str) -> str | None:
    """Why nothing came of a client's part; empty where something did, None where it had none or is blameless."""
    if name in each.accepted or name in each.defence.left_out:
        return ""
    why = each.excluded.get(name)
    return None if why is None or why in BLAMELESS or why.startswith(NO_FAULT) else why
