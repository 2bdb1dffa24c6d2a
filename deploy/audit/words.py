"""What the figures of an audit mean, for people: the same sentences on the terminal and on the page."""

from __future__ import annotations

from roughfed.deploy.audit.regression import Curve
from roughfed.deploy.audit.trials import Inversion

CLOSE_DB = 1.0
"""Up to so much above guessing counts as no better than guessing."""

RECOGNISABLE_DB = 6.0
"""From so much on, people see what was in the image."""

MEANINGS = {
    "updates": "one client's update, as with server_sees = updates",
    "updates, coded": "one client's codes before they are masked, which masks hide",
    "one sketch": "one client's sketch alone, which server_sees = sketches adds to sums",
    "sketches": "the group's sketches and its sum: all of server_sees = sketches",
    "sums": "the group's sum alone, as with server_sees = sums",
}


def verdict(row: Inversion) -> str:
    """One attack in words."""
    if row.gain_db <= CLOSE_DB:
        return "as guessing"
    return "recognisable" if row.gain_db > RECOGNISABLE_DB else "better"


def attacker(row: Inversion) -> str:
    """Who attacks."""
    return "has such images" if row.prior == "learned" else "has none"


def named(row: Inversion) -> str:
    """What is seen, and by whom if that matters."""
    return row.mode if row.prior == "smooth" else f"{row.mode}, {row.prior}"


def solved(curve: Curve) -> str:
    """When every client's value follows."""
    return "no" if curve.solved_after is None else f"round {curve.solved_after}"
