"""The rounds of a simulation, as whoever waits for it hears of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from roughfed.deploy.simulate.dropout_outcomes import RoundLosses, losses_of
from roughfed.deploy.simulate.dropouts import Losing
from roughfed.deploy.simulate.meter import CpuMeter
from roughfed.report.summary import RoundSummary
from roughfed.server.context.server import ServerContext
from roughfed.server.model.retention import newest_evaluation
from roughfed.server.observe.run_summary import SERVER, closed, summaries_of
from roughfed.server.storage.store import RoundRow

WORKS = ("unmask", "aggregate", "commit")
"""Phases in which nobody but the server works."""


@dataclass(frozen=True, slots=True)
class SimulatedRound:
    """One round as it was played.

    Attributes:
        seconds: from its opening to its end.
        server_seconds: of these, what the server itself worked: verdicts, unmasking, sum, commit.
        server_cpu_seconds: processor time of the server alone, from the end of the round before: sessions, journal and
            downloads as well, without its worker.
        accepted: clients whose update counts.
        missing: why the others' do not, and how many of them, as the journal has it.
        accuracy: of the model after it, on the server's data, or else on what the next round's clients hold out; None
            where it was not evaluated (yet).
        accuracy_before: of the model that it began with, likewise; None where `accuracy` is known.
        measured_by: on whose data that is, "server" or "clients"; None without it.
        losses: what became of its cohort, where clients are lost.
    """

    round: int
    outcome: str
    seconds: float
    server_seconds: float
    server_cpu_seconds: float
    cohort: int
    accepted: int
    missing: Mapping[str, int]
    upload_bytes: int
    download_bytes: int
    accuracy: float | None
    accuracy_before: float | None = None
    measured_by: str | None = None
    losses: RoundLosses | None = None


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears how it goes.

    Attributes:
        round_over: of each round that is over, once it is measured.
        progress: where the simulation stands, at every change.
        complain: what goes wrong with single clients.
    """

    round_over: Callable[[SimulatedRound], None] = lambda _: None
    progress: Callable[[str], None] = lambda _: None
    complain: Callable[[str], None] = lambda _: None


NOBODY = Audience()


class Telling:
    """Tells an audience of the rounds of a federation."""

    def __init__(
        self, ctx: ServerContext, losing: Losing | None, audience: Audience, meter: CpuMeter, *, has_data: bool
    ) -> None:
        """`has_data`: whether the server evaluates its models."""
        self._ctx, self._losing, self._audience, self._has_data = ctx, losing, audience, has_data
        self._meter, self._told = meter, 0

    async def follow(self) -> None:
        """Tell, until it is cancelled."""
        event = self._ctx.state.watch()
        try:
            while True:
                event.clear()
                self._audience.progress(where(self._ctx))
                self.tell()
                await event.wait()
        finally:
            self._ctx.state.unwatch(event)

    def tell(self, *, over: bool = False) -> None:
        """Tell of what is new; once the run is `over`, of all that is left."""
        for row in self._closed(after=self._told):
            if not (over or measured(self._ctx, row, has_data=self._has_data)):
                return
            self._told = row.round
            self._audience.round_over(self._round(row))

    def rounds(self) -> list[SimulatedRound]:
        """All that are over."""
        return [self._round(row) for row in self._closed(after=0)]

    def _closed(self, *, after: int) -> list[RoundRow]:
        return [row for row in closed(self._ctx.store, after=after) if row.summary is not None]

    def _round(self, row: RoundRow) -> SimulatedRound:
        (summary,) = summaries_of(self._ctx.store, [row])
        missing = Counter(why for why in (row.sets or {}).values() if why)
        played = round_of(summary, missing, self._losing, self._meter.of_round(row.round))
        if summary.accuracy is not None or row.outcome != "committed":
            return played
        found, by = newest_evaluation(self._ctx.store, summary.version)
        return replace(played, accuracy_before=None if found is None else found.accuracy, measured_by=by)


def round_of(
    summary: RoundSummary, missing: Mapping[str, int], losing: Losing | None, cpu_seconds: float
) -> SimulatedRound:
    """A round from what the report would say of it."""
    lost, at = ({}, "") if losing is None else losing.of(summary.round, tuple(summary.participants))
    return SimulatedRound(
        round=summary.round,
        outcome=summary.outcome,
        seconds=summary.seconds,
        server_seconds=sum(summary.phase_seconds.get(name, 0.0) for name in WORKS),
        server_cpu_seconds=cpu_seconds,
        cohort=len(summary.participants),
        accepted=len(summary.accepted),
        missing=dict(missing),
        upload_bytes=summary.upload_bytes,
        download_bytes=summary.download_bytes,
        accuracy=summary.accuracy,
        losses=None if losing is None else losses_of(summary, lost, at),
    )


def where(ctx: ServerContext) -> str:
    """Where a simulation stands, in a line."""
    round_, collection = ctx.state.round, ctx.state.collection
    row = None if round_ is None else round_.row
    if row is None or collection is None:
        return "between two rounds" if row is not None else "before the first round"
    came, asked = len(collection.received), len(row.cohort)
    return f"round {row.round} of {ctx.config.round.rounds}: {ctx.state.phase}, {came} of {asked} updates are in"


def measured(ctx: ServerContext, row: RoundRow, *, has_data: bool) -> bool:
    """Whether all is known that the server measures of what a round made, as far as it is worth waiting for."""
    config = ctx.config
    if not has_data or row.outcome != "committed" or config.model.private or ctx.extensions.schedule.on:
        return True
    if (last := ctx.store.last_round()) is not None and last.round > row.round and last.outcome is not None:
        return True  # the next round is over already: the evaluation has failed
    version, every = ctx.store.lineage.made_in(row.round), config.round.evaluate_every
    return version is None or every == 0 or version % every > 0 or SERVER in ctx.store.evaluations(version)
