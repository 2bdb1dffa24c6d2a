"""What this client still shows: decisions over its disclosure record. Pure; the record is `record.py`.

A limit counts what left this directory for one federation and one model of the owner's, whatever runs the server names,
and no number that the server says enlarges it. Every refusal names the key of client.toml that the owner may turn.

C clip norm of a round, w its base model, A the members whose updates a sum is of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from roughfed.client.policy import Rules
from roughfed.codec.plan import plan_lanes
from roughfed.errors import RemoteProtocolError
from roughfed.secagg.groups import SMALLEST, smallest_sum
from roughfed.secagg.statistics import KINDS

CLOSE = 0.002
"""Models less than this part of C apart are one model. Honest ones move at least twenty times as far, to the last."""

LEAST = 0.1
"""Part of an update's own norm that C is taken for at least: C is a word of the server's."""

STATIC, CHOICE = "static", "choice"
"""Names in the record, beside those of `KINDS`: examples and classes together; answers to which model fits best."""

GROWTH = 2
"""Static statistics are told anew when there are this many times as many training examples as when they were told."""

NAME_BYTES = 8


@dataclass(frozen=True, slots=True)
class Totals:
    """What a disclosure record adds up to.

    Attributes:
        runs: their names.
        rounds: mode -> rounds in which something was shown; "" of those before there were such records, in the clear.
        numbers: of sketches.
        smallest_sum: members of the smallest sum that this client was in; None: not known.
        least_moved: how far the model moved least from one round to the next, in units of C; None: not known.
        bits: told by choosing among models.
        given: statistic -> times that it left.
    """

    runs: tuple[str, ...]
    rounds: Mapping[str, int]
    numbers: int
    smallest_sum: int | None
    least_moved: float | None
    bits: int
    given: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is limited: how much of it left, of how much (None: no limit), and the key of the limit."""

    name: str
    used: int
    limit: int | None
    key: str

    @property
    def share(self) -> float:
        """How much of the limit is used, from 0; of a limit of nothing, what is used."""
        return 0.0 if self.limit is None else self.used / max(1, self.limit)


def lines_of(totals: Totals, rules: Rules) -> list[Line]:
    """Everything that left, beside its limit."""
    policy = rules.policy
    lines = [
        Line("runs", len(totals.runs), rules.runs, "client.stay"),
        Line("rounds", sum(totals.rounds.values()), policy.max_rounds or None, "policy.max_rounds"),
        Line("sketch-numbers", totals.numbers, policy.max_sketch_numbers, "policy.max_sketch_numbers"),
        Line("choice-bits", totals.bits, policy.max_choice_bits, "policy.max_choice_bits"),
        Line(STATIC, totals.given.get(STATIC, 0), policy.max_counts, "policy.max_counts"),
    ]
    for name, times in sorted(totals.given.items()):
        if name in KINDS:
            most = times_allowed(name, most=policy.max_statistics, runs=rules.runs)
            lines.append(Line(name, times, most, "policy.max_statistics"))
    return lines


def refusal(what: str, key: str, cure: str) -> RemoteProtocolError:
    """A refusal by a limit of the owner's."""
    return RemoteProtocolError(f"{what} (client.toml, {key}); {cure}", reason="policy")


def check_run(run: str, known: Collection[str], *, allowed: int) -> None:
    """May this client take part in a run? In one that it knows, always; each other one counts.

    Raises:
        RemoteProtocolError: reason "policy"; the owner agreed to fewer runs.
    """
    if run not in known and len(known) >= allowed:
        raise refusal(
            f"run {run[:40]!r} would be number {len(known) + 1} for this directory, and its owner agreed to {allowed}",
            "client.stay",
            f"if another run is wanted: roughfed join --runs {len(known) + 1}, or write it as client.stay",
        )


def check_numbers(shown: int, asked: int, *, most: int) -> None:
    """May a round show so many numbers of a sketch?

    Raises:
        RemoteProtocolError: reason "policy".
    """
    if shown + asked > most:
        raise refusal(
            f"this client has shown {shown} numbers of its updates, and {asked} more are over its limit of {most}",
            "policy.max_sketch_numbers",
            "raise it to show more; `roughfed disclosed` says what was shown",
        )


def check_levels(levels: int, group: int, *, most: int) -> None:
    """Is the rounding as coarse as a group needs?

    Finer levels show more of an update in a sum of few, and a group is given as many as its narrowest lanes hold.

    Args:
        levels: of the header.
        group: clients in this one's group.
        most: the owner's limit; 0 = `plan_lanes` of the group.

    Raises:
        RemoteProtocolError: reason "policy".
    """
    allowed = most or plan_lanes(max(group, SMALLEST)).levels
    if levels > allowed:
        raise refusal(
            f"{levels} levels of rounding for a group of {group}, this client accepts {allowed}",
            "policy.max_levels",
            "the server's codec.lane_bits = 0 keeps to it, or write the number there",
        )


def scale_of(clip_norm: float, norm: float) -> float:
    """What distances from a round's model are held against; `norm`: of the update before the clip, or more than it."""
    return max(clip_norm, LEAST * norm)


def is_close(distance: float, scale: float) -> bool:
    """Whether two models are one; a distance that is no number is none."""
    return not distance >= CLOSE * scale


def check_model(near: int, *, most: int) -> None:
    """May a round be answered on a model on which, or next to which, this client has answered so many?

    Raises:
        RemoteProtocolError: reason "policy".
    """
    if near >= most:
        raise RemoteProtocolError(
            f"this client has answered {most} rounds on this model, or on one within {CLOSE} of the clip norm; more "
            "answers could be compared (client.toml, policy.max_model_rounds); rounds that move the model go on, or "
            "raise it where the model moves little by design",
            reason="policy",
        )


def check_sets(accepted: bytes, earlier: Collection[bytes], *, dealers: int, most: int = 0) -> None:
    """May this client sign that a sum is of these members?

    The difference of two sums on one model is the sum of the members in one of them alone, which must hide each as a
    sum does.

    Args:
        accepted: A, by `members_of`.
        earlier: A of each earlier round on this model in which this client's update left; empty where it was not told,
            which counts as such a pair.
        dealers: members of the group that dealt shares: the sets are about them.
        most: pairs that are opened on one model all the same (policy.max_differences): a round that is void because
            somebody lied or was lost does not move the model, and the next one is without that client.

    Raises:
        RemoteProtocolError: reason "difference".
    """
    least, now = smallest_sum(dealers), split_members(accepted)
    sets = {now} | {split_members(each) for each in earlier if each}
    pairs = [(one, other) for one, other in combinations(sets, 2) if len(one ^ other) < least]
    untold = sum(not each for each in earlier)
    apart = min((len(one ^ other) for one, other in pairs if now in (one, other)), default=0)
    if len(pairs) + untold > most and (untold or apart):
        told = f"this client was not told of {untold} sums on this model that its update may be in"
        if apart:
            told = f"the sum differs from an earlier one on this model by {apart} clients, and {least} hide"
        raise RemoteProtocolError(
            f"{told}; it bears {most} such pairs on one model (client.toml, policy.max_differences); on another model, "
            "or with the same clients, the sum can be made",
            reason="difference",
        )


def members_of(names: Collection[str]) -> bytes:
    """Who is in a sum, in the record's form: short digests of the names, sorted."""
    return b"".join(sorted(hashlib.sha256(name.encode()).digest()[:NAME_BYTES] for name in names))


def split_members(members: bytes) -> frozenset[bytes]:
    """The digests of `members_of`."""
    return frozenset(members[at : at + NAME_BYTES] for at in range(0, len(members), NAME_BYTES))


def may_give_statics(tellings: Sequence[int], examples: int, *, most: int) -> bool:
    """Whether examples and classes may be told once more.

    Args:
        tellings: examples that there were at each time that they were told; 0: not known.
        examples: training examples now.
        most: the owner's limit while the data are the same.
    """
    grown = bool(tellings) and min(tellings) > 0 and examples >= GROWTH * max(tellings)
    return len(tellings) < most or grown


def times_allowed(name: str, *, most: int, runs: int) -> int:
    """In how many rounds a statistic of the training may leave.

    The owner's limit and, for one that hardly changes from round to round, `Kind.often` in each run that the owner
    agreed to.
    """
    often = KINDS[name].often
    return min(most, often * max(1, runs)) if often else most


def check_bits(told: int, asked: int, *, most: int) -> None:
    """May a choice tell so many bits?

    Raises:
        RemoteProtocolError: reason "policy".
    """
    if told + asked > most:
        raise refusal(
            f"{asked} bits more after {told}, this client tells {most} by choosing among models",
            "policy.max_choice_bits",
            "raise it to choose more often",
        )
