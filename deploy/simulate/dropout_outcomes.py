"""Which clients a simulation loses, at which stage of which round, and what became of the others' inputs.

Pure: who is lost follows from the seed, the round and its cohort. A client is lost before the message of its stage,
says nothing more in that round, and is back for the next one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roughfed.errors import ConfigError
from roughfed.report.summary import RoundSummary
from roughfed.rng import generator

MASKED_STAGES = ("advertise", "shares", "upload", "sketch", "consistency", "unmask")
"""The messages of a client in a masked round, in order."""

EACH, RANDOM = "each", "random"

_ROUNDING = 1e-9

COUNTED, EXCLUDED, VOID = "counted", "excluded", "void"


def stages_of(server_sees: str) -> tuple[str, ...]:
    """The stages at which a client can be lost, by what the server sees."""
    if server_sees == "updates":
        return ("upload",)
    return tuple(stage for stage in MASKED_STAGES if stage != "sketch" or server_sees == "sketches")


@dataclass(frozen=True, slots=True)
class Losses:
    """Who is lost.

    Attributes:
        share: of each round's cohort, 0 to 1; rounded down to whole clients.
        at: a stage; "each", one after another, a round each; or "random", a stage for each lost client.
        silent: the session stays open and the server waits until its own deadlines; otherwise the session breaks.
    """

    share: float
    at: str = RANDOM
    silent: bool = False

    def check(self, server_sees: str, cohort: int) -> None:
        """Refuse what cannot be, or would have no effect.

        Args:
            server_sees: of a single client.
            cohort: clients in a round.

        Raises:
            ConfigError: no share, one of less than a client, or a stage that the mode does not have.
        """
        if not 0 < self.share < 1:
            raise ConfigError(f"a share of {self.share:g} cannot be lost", key="--lose", cure="between 0 and 1")
        if not self.of(cohort):
            cause = f"{self.share:g} of {cohort} clients is nobody: it is rounded down"
            raise ConfigError(cause, key="--lose", cure=f"{math.ceil(1000 / cohort) / 1000:g} or more")
        known = stages_of(server_sees)
        if self.at not in (*known, EACH, RANDOM):
            raise ConfigError(
                f'with privacy.server_sees = "{server_sees}" no round has a stage {self.at!r}',
                key="--at",
                cure=f"one of {', '.join((*known, EACH, RANDOM))}",
            )

    def of(self, cohort: int) -> int:
        """How many of a cohort are lost."""
        return math.floor(self.share * cohort + _ROUNDING)

    def label(self, number: int, server_sees: str) -> str:
        """Under which name a round is counted: its stage, or "random"."""
        known = stages_of(server_sees)
        return known[(number - 1) % len(known)] if self.at == EACH else self.at

    def lost(self, number: int, cohort: Sequence[str], *, seed: int, server_sees: str) -> dict[str, str]:
        """Name -> the stage before whose message it is lost.

        Args:
            number: of the round, from 1.
            cohort: who is asked in it, sorted.
            seed: of the simulation.
            server_sees: of a single client.
        """
        random, label = generator(seed, "losses", number), self.label(number, server_sees)
        drawn = random.choice(len(cohort), size=self.of(len(cohort)), replace=False)
        known = stages_of(server_sees)
        places = random.integers(len(known), size=len(drawn))
        stages = [known[int(place)] if label == RANDOM else label for place in places]
        return {cohort[int(at)]: stage for at, stage in zip(drawn, stages, strict=True)}


@dataclass(frozen=True, slots=True)
class RoundLosses:
    """What became of one round's cohort.

    Attributes:
        at: the round's stage, or "random".
        lost: clients that were lost.
        survivors: the others.
        counted: survivors whose input is in the sum.
        excluded: survivors whom the defence or the norm bound left out.
        void: survivors whose input is in no sum: too few of their group were left, or the round was abandoned.
        lost_counted: lost ones whose input counts: they were lost after it was complete.
        groups: of a masked round.
        void_groups: of them, those without a sum.
    """

    at: str
    lost: int
    survivors: int
    counted: int
    excluded: int
    void: int
    lost_counted: int
    groups: int
    void_groups: int


def losses_of(summary: RoundSummary, lost: Iterable[str], at: str) -> RoundLosses:
    """Where the survivors of a round ended."""
    gone = set(lost)
    survivors = set(summary.participants) - gone
    left_out = dict(summary.excluded)
    judged = set(summary.defence.excluded if summary.defence is not None else ())
    committed = summary.outcome == "committed"
    accepted = set(summary.accepted) if committed else set[str]()  # what came to an abandoned round is in no sum
    counted = survivors & accepted
    excluded = {n for n in survivors - counted if committed and (left_out.get(n) == "norm" or n in judged)}
    excluded -= {n for n in excluded if left_out.get(n) == VOID}
    return RoundLosses(
        at=at,
        lost=len(gone),
        survivors=len(survivors),
        counted=len(counted),
        excluded=len(excluded),
        void=len(survivors - counted - excluded),
        lost_counted=len(gone & accepted),
        groups=len(summary.groups),
        void_groups=sum(bool(group.void) for group in summary.groups),
    )


@dataclass
class StageTally:
    """The rounds of one stage together.

    Attributes:
        rounds: that were played.
        committed: of them, those with a sum of one client or more.
        least_counted: the smallest share of a round's survivors that counted, 0 to 1.
        outcomes: how often each other outcome came.
    """

    rounds: int = 0
    committed: int = 0
    least_counted: float = 1.0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    sums: Counter[str] = field(default_factory=Counter[str])

    def add(self, outcome: str, found: RoundLosses) -> None:
        """One round."""
        self.rounds += 1
        kept = outcome == "committed" and found.counted + found.lost_counted > 0
        self.committed += kept
        if not kept:
            self.outcomes[outcome] += 1
        for name in ("lost", "survivors", COUNTED, EXCLUDED, VOID, "lost_counted", "groups", "void_groups"):
            self.sums[name] += getattr(found, name)
        self.least_counted = min(self.least_counted, _share(found.counted, found.survivors))

    def plain(self) -> dict[str, Any]:
        """As JSON carries it; shares from 0 to 1."""
        survivors = self.sums["survivors"]
        return {
            "rounds": self.rounds,
            "committed": self.committed,
            "committed_share": _share(self.committed, self.rounds),
            "counted_share": _share(self.sums[COUNTED], survivors),
            "excluded_share": _share(self.sums[EXCLUDED], survivors),
            "void_share": _share(self.sums[VOID], survivors),
            "least_counted_share": self.least_counted,
            "lost": self.sums["lost"],
            "lost_counted": self.sums["lost_counted"],
            "groups": self.sums["groups"],
            "void_groups": self.sums["void_groups"],
            "other_outcomes": dict(self.outcomes),
        }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def by_stage(rounds: Iterable[tuple[str, RoundLosses | None]]) -> dict[str, dict[str, Any]]:
    """(outcome, losses) of each round -> the figures of each stage, in order of the stages."""
    tallies: dict[str, StageTally] = {}
    for outcome, found in rounds:
        if found is not None:
            tallies.setdefault(found.at, StageTally()).add(outcome, found)
    order: Mapping[str, int] = {stage: place for place, stage in enumerate(MASKED_STAGES)}
    return {at: tallies[at].plain() for at in sorted(tallies, key=lambda each: order.get(each, len(order)))}
