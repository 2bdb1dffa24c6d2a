"""Alerts about what the server stands on: certificates, clocks, its disk and journal, its ports."""

from __future__ import annotations

from collections import Counter
from statistics import median

from roughfed.server.observe.health.alert import Firing, duration, most, some
from roughfed.server.observe.health.inputs import HealthInputs

DAY_S = 86400.0
CA_S, CA_SOON_S = 30 * DAY_S, 7 * DAY_S
LEFT, SOON = 0.2, 0.05
"""Part of a certificate's life: it is renewed when a third is left, so with a fifth left that did not work."""

SLOW_S, QUICK_S = 0.25, 0.1
"""Seconds in which nine of ten commits are durable."""
COMMITS = 10
"""Fewer say nothing."""

ROUNDS_LEFT = 3
"""So many rounds must find room on the disk."""
SMALL_BYTES = 1 << 30
SMALL_SHARE = 0.05
CALM = 1.25

SKEW_S, SKEW_CALM_S = 30.0, 20.0
REFUSALS = 3

FAULTS = ("INTERNAL", "UNAVAILABLE")
"""Statuses of calls that are the server's own fault."""
FAULTS_LEAST = 5
FAULTS_SHARE, FAULTS_CALM = 0.05, 0.02
"""Of the calls of the last minutes."""


def certificates(inputs: HealthInputs, stands: bool) -> Firing | None:
    """The server's certificate was not renewed in time, or the CA's ends soon."""
    del stands  # a new certificate lives much longer
    life = inputs.certificates.life_s
    limits = {"server": (LEFT * life, SOON * life), "ca": (CA_S, CA_SOON_S)}
    cures = {"server": "roughfed rotate", "ca": "a new CA means a new federation: docs/operate.md, Members"}
    left = {role: end - inputs.now for role, end in inputs.certificates.ends.items()}
    due = [role for role in sorted(left, key=lambda role: left[role]) if left[role] < limits[role][0]]
    if not due:
        return None
    said = [f"the {role.replace('ca', 'CA')} certificate {_ends(left[role])}" for role in due]
    soon = any(left[role] < limits[role][1] for role in due)
    return Firing("; ".join(said), cures[due[0]], "critical" if soon else None)


def client_certificates(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Certificates of connected clients that should have been renewed."""
    del stands
    lives = {name: (end - inputs.now, life) for name, (end, life) in inputs.client_certificates.items()}
    due = {name: left for name, (left, life) in lives.items() if left < LEFT * life}
    if not due:
        return None
    first = min(due, key=lambda name: (due[name], name))
    return Firing(
        f"the certificates of {some(due)} were not renewed; that of {first} {_ends(due[first])}",
        f"can {first} reach the enrolment port? roughfed doctor on its machine; else roughfed invite {first}",
    )


def _ends(left: float) -> str:
    return f"ends in {duration(left)}" if left > 0 else f"ended {duration(-left)} ago"


def journal(inputs: HealthInputs, stands: bool) -> Firing | None:
    """The disk takes long to make a fact durable: every receipt waits for it."""
    commits = sorted(inputs.recent.commits_s)
    if len(commits) < COMMITS:
        return None
    slow = commits[int(0.9 * (len(commits) - 1))]
    if slow <= (QUICK_S if stands else SLOW_S):
        return None
    return Firing(
        f"one of ten commits of the journal takes more than {slow * 1000:.0f} ms ({len(commits)} of the last minutes)",
        "put state/ on a faster or less busy disk (roughfed doctor measures it)",
    )


def disk(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Little is free where the server writes: a round that finds none is refused its updates."""
    if not inputs.disk.total_bytes:
        return None
    needed = max(ROUNDS_LEFT * inputs.round_bytes, min(SMALL_BYTES, SMALL_SHARE * inputs.disk.total_bytes))
    if inputs.disk.free_bytes >= needed * (CALM if stands else 1.0):
        return None
    rounds = f", about {inputs.disk.free_bytes / inputs.round_bytes:.1f} rounds" if inputs.round_bytes else ""
    return Firing(
        f"{size(inputs.disk.free_bytes)} of {size(inputs.disk.total_bytes)} are free on the disk of state/{rounds}",
        "make room, or lower model.keep_last",
        "critical" if inputs.disk.free_bytes < inputs.round_bytes or inputs.disk.free_bytes < needed / 4 else None,
    )


def size(number: float) -> str:
    """Bytes in words."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def clocks(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Clients' clocks are off, or the server's own is: certificates and hours are judged by them."""
    limit = SKEW_CALM_S if stands else SKEW_S
    off = {name: skew for name, skew in inputs.skews.items() if abs(skew) > limit}
    if not off:
        return None
    usual = median(inputs.skews.values())
    if len(inputs.skews) >= 3 and abs(usual) > limit and 2 * len(off) > len(inputs.skews):
        return Firing(
            f"the server's clock seems to be {duration(abs(usual))} {'behind' if usual > 0 else 'ahead'}: "
            f"{len(off)} of {len(inputs.skews)} clients say so",
            "timedatectl on the server's machine; is a time service running?",
        )
    most_off = max(off, key=lambda name: (abs(off[name]), name))
    return Firing(
        f"clocks are off: {some(off)}; that of {most_off} is {duration(abs(off[most_off]))} "
        f"{'ahead' if off[most_off] > 0 else 'behind'}",
        f"timedatectl on the machine of {most_off}; is a time service running?",
    )


def enrolments(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Somebody is turned away at the enrolment port again and again."""
    if len(inputs.recent.enrolments_refused) < (1 if stands else REFUSALS):
        return None
    return Firing(
        f"{len(inputs.recent.enrolments_refused)} requests to enrol or renew were refused in the last 10 minutes "
        f"({most(Counter(inputs.recent.enrolments_refused))})",
        "roughfed invite NAME makes a new join line where one ran out; somebody may also be guessing",
    )


def calls(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Calls end with an error of the server's own."""
    handled = inputs.recent.calls
    failed = sum(code in FAULTS for code in handled)
    least, share = (1, FAULTS_CALM) if stands else (FAULTS_LEAST, FAULTS_SHARE)
    if failed < least or failed <= share * len(handled):
        return None
    return Firing(
        f"{failed} of {len(handled)} calls of the last 10 minutes ended with an error of the server's own",
        "read the server's log: it names each with its cause",
    )
