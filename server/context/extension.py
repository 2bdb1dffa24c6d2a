"""Extensions of the rounds: features that look on, add to the figures, or act at one moment of a round.

The round engine calls these hooks and knows none of the features. Which there are is a table,
`roughfed.server.extensions.table.EXTENSIONS`: without its row a feature is gone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roughfed.messages import ClientMessage
from roughfed.server.cohort.statistics import Facts
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.schedule import ModelSchedule
from roughfed.server.defence import View
from roughfed.server.members.sessions import ClientSession
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import RoundRow

IN_TIME = 0.9
"""Share of what is left within which a round is to end (`Extension.in_time`)."""

Figures = dict[str, Any]
"""Of the summary of a round, by key. What two extensions say under one key is put together."""


@dataclass(frozen=True, slots=True)
class Payloads:
    """Whole updates in files: of which clients, by which codec, and how many coordinates."""

    paths: Mapping[str, Path]
    codec: str
    size: int


class Extension:
    """An extension of the rounds. Each hook does nothing here."""

    schedule: ModelSchedule | None = None
    """Takes the place of the plain schedule."""

    runs = False
    """Whether its `run` takes the place of `roughfed.server.round.run`."""

    async def run(self) -> str:
        """Run the rounds; returns why the run is over."""
        return ""

    @property
    def wants_groups(self) -> bool:
        """Whether the sums of single groups are kept, and not only their total."""
        return False

    async def prepare(self) -> None:
        """Before the first round.

        Raises:
            ConfigError: with these settings, or in this state directory, the feature cannot work.
        """

    async def between(self, until: float | None) -> bool:
        """Decide what is due between two rounds; whether a round can be opened now.

        Where none can, this returns at the next change of who is connected, or at `until` (monotonic seconds).
        """
        del until
        return True

    def statistics(self, number: int, cluster: str) -> Iterable[str]:
        """Statistics that the clients of a round are asked for, as "name:length"."""
        del number, cluster
        return ()

    def facts(self, number: int, cluster: str) -> Facts:
        """What the jobs of a round say."""
        del number, cluster
        return {}

    def in_time(self, seconds: float, share: float) -> float:
        """How many of these seconds there are; at most a `share` of what is left."""
        del share
        return seconds

    def check(self) -> None:
        """Raise a RoundError where nobody waits for the open round any more."""

    @property
    def idle(self) -> bool:
        """Whether no round is asked for now."""
        return False

    async def on_views(
        self, round_: RoundState, views: Mapping[str, View], payloads: Mapping[str, Payloads]
    ) -> Mapping[str, View]:
        """The rows of a round, by tier, before the defence judges them; returns those that it is to judge.

        Args:
            round_: the round.
            views: updates or sketches of clients.
            payloads: where whole updates lie, by tier; empty behind masks.
        """
        del round_, payloads
        return views

    def excluded(self, round_: RoundState) -> Mapping[str, str]:
        """Clients that this extension leaves out of the sum -> the reason."""
        del round_
        return {}

    def on_mean(self, round_: RoundState, version: int, mean: Mean) -> AbstractContextManager[Mean]:
        """The mean update, before it is read; returns what is read in its place."""
        del round_, version
        return nullcontext(mean)

    async def on_stepped(self, round_: RoundState, weighting: str) -> None:
        """The next version is on disk, and not committed yet."""

    async def on_closed(self, round_: RoundState) -> None:
        """The round is over, whatever its outcome, and its summary is journaled."""

    async def on_committed(self, row: RoundRow) -> None:
        """After a round that made a version; not at an edge, whose `run` has a loop of its own."""

    def figures(self, round_: RoundState) -> Figures:
        """What the summary of a round says of the feature."""
        del round_
        return {}

    async def catch_up(self) -> None:
        """At a start, after each round and after the last: journal what is missing and known by now."""

    def pending(self) -> int | None:
        """The round whose figures are not complete yet."""
        return None

    async def on_message(self, session: ClientSession, message: ClientMessage) -> bool:
        """A message of a client that no room of the server knows; whether it was for this extension."""
        del session, message
        return False

    def status(self) -> Mapping[str, object]:
        """What a status says of the feature."""
        return {}

    async def on_last_round(self) -> None:
        """After the last round, while the clients are still here."""

    def resume(self) -> None:
        """Take up at a start, or after a round, what goes on beside the rounds."""

    async def finish(self) -> None:
        """After the last round: wait for what goes on beside the rounds."""

    async def stop(self) -> None:
        """The process ends: leave what is not done to the next start."""


class Extensions:
    """All extensions, in the order of their table."""

    def __init__(self, schedule: ModelSchedule) -> None:
        """None yet."""
        self.all: list[Extension] = []
        self.schedule = schedule

    def add(self, extension: Extension) -> None:
        """One more."""
        self.all.append(extension)
        self.schedule = extension.schedule or self.schedule

    @property
    def wants_groups(self) -> bool:
        """Whether anybody does."""
        return any(each.wants_groups for each in self.all)

    async def prepare(self) -> None:
        """See `Extension.prepare`."""
        for each in self.all:
            await each.prepare()

    async def between(self, until: float | None) -> bool:
        """Whether a round can be opened as far as all are concerned."""
        for each in self.all:
            if not await each.between(until):
                return False
        return True

    def statistics(self, number: int, cluster: str) -> tuple[str, ...]:
        """Of all."""
        return tuple(name for each in self.all for name in each.statistics(number, cluster))

    def facts(self, number: int, cluster: str) -> Facts:
        """Of all; of a name that two give, the later counts."""
        found: Facts = {}
        for each in self.all:
            found = {**found, **each.facts(number, cluster)}
        return found

    def in_time(self, seconds: float, share: float = IN_TIME) -> float:
        """The least."""
        return min((each.in_time(seconds, share) for each in self.all), default=seconds)

    def check(self) -> None:
        """Raise a RoundError where nobody waits for the open round any more."""
        for each in self.all:
            each.check()

    @property
    def idle(self) -> bool:
        """Whether a round has to be asked for, and is not."""
        return any(each.idle for each in self.all)

    async def on_views(
        self, round_: RoundState, views: Mapping[str, View], payloads: Mapping[str, Payloads]
    ) -> Mapping[str, View]:
        """Each sees what the one before left."""
        for each in self.all:
            views = await each.on_views(round_, views, payloads)
        return views

    def excluded(self, round_: RoundState) -> dict[str, str]:
        """Of all."""
        return {name: why for each in self.all for name, why in each.excluded(round_).items()}

    @contextmanager
    def on_mean(self, round_: RoundState, version: int, mean: Mean) -> Generator[Mean]:
        """Each gets what the one before returned."""
        with ExitStack() as stack:
            for each in self.all:
                mean = stack.enter_context(each.on_mean(round_, version, mean))
            yield mean

    async def on_stepped(self, round_: RoundState, weighting: str) -> None:
        """See `Extension.on_stepped`."""
        for each in self.all:
            await each.on_stepped(round_, weighting)

    async def on_closed(self, round_: RoundState) -> None:
        """See `Extension.on_closed`."""
        for each in self.all:
            await each.on_closed(round_)

    async def on_committed(self, row: RoundRow) -> None:
        """See `Extension.on_committed`."""
        for each in self.all:
            await each.on_committed(row)

    async def on_last_round(self) -> None:
        """See `Extension.on_last_round`."""
        for each in self.all:
            await each.on_last_round()

    def figures(self, round_: RoundState) -> Figures:
        """Of all; two mappings under one key become one."""
        found: Figures = {}
        for each in self.all:
            for key, value in each.figures(round_).items():
                found[key] = {**found[key], **value} if key in found else value
        return found

    async def catch_up(self) -> None:
        """See `Extension.catch_up`."""
        for each in self.all:
            await each.catch_up()

    def pending(self) -> int | None:
        """The oldest round whose figures are not complete yet."""
        return min((number for each in self.all if (number := each.pending()) is not None), default=None)

    async def on_message(self, session: ClientSession, message: ClientMessage) -> bool:
        """Whether anybody knows the message."""
        for each in self.all:
            if await each.on_message(session, message):
                return True
        return False

    def status(self) -> dict[str, object]:
        """Of all."""
        return {key: value for each in self.all for key, value in each.status().items()}

    def resume(self) -> None:
        """See `Extension.resume`."""
        for each in self.all:
            each.resume()

    async def finish(self) -> None:
        """See `Extension.finish`."""
        for each in self.all:
            await each.finish()

    async def stop(self) -> None:
        """See `Extension.stop`."""
        for each in self.all:
            await each.stop()
