"""What a round does with updates, as `engine` sees it: `plain` and `masked` are its two ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import ReceivedUpdate
from roughfed.server.uploads.payload import OpenRound
from roughfed.types import Evaluation

Statistics = Mapping[str, Sequence[int]]

STATICS = ("class-count", "class-owner")
"""Statistics that a client tells once a run, or the same in every round."""


class Updates(ABC):
    """The updates of one round."""

    def __init__(self, ctx: ServerContext, round_: RoundState) -> None:
        """Of a round that was just opened, or is taken up after a restart."""
        self._ctx, self._round = ctx, round_

    @abstractmethod
    def demand(self) -> OpenRound:
        """What the intake demands of updates."""

    async def set_up(self) -> str:
        """Agree on what is needed before updates come; why the round cannot be, or ""."""
        return ""

    def collected(self) -> bool:
        """Whether the journal says already whose updates count as sent."""
        return False

    async def agree(self) -> None:  # noqa: B027 (nothing is a way, too)
        """After the collection: whatever has to be agreed with the clients before there is a sum."""

    @abstractmethod
    async def verdicts(self, missing: Mapping[str, str], *, defend: bool) -> dict[str, str]:
        """Client -> "" if its update counts, else the reason.

        Args:
            missing: who gave nothing that could count, and why.
            defend: whether the defence is asked.

        Raises:
            TooFewClients: the defence cannot hold among so few.
        """

    @abstractmethod
    def statistics(self, sets: Mapping[str, str]) -> tuple[Statistics, Mapping[str, Statistics]]:
        """The statistics of those who count: their sums; and source -> the class counts that facts go by."""

    def nothing_to_sum(self) -> str:
        """Why there can be no sum once the verdicts are known; "" where there is one."""
        return ""

    @abstractmethod
    async def prepare_mean(self) -> None:
        """After a restart behind the verdicts: find again what the mean follows from."""

    @abstractmethod
    def mean(self, weighting: str) -> AbstractContextManager[Mean]:
        """The mean of the accepted updates, to be read slice by slice."""

    @abstractmethod
    def evaluations(self) -> list[tuple[str, Evaluation]]:
        """What the clients found about the base model: each one's, or all together when masked."""

    async def add_comparisons(self) -> None:  # noqa: B027 (nothing is a way, too)
        """Keep what clients found about their own models."""

    async def give_up(self) -> None:  # noqa: B027 (nothing is a way, too)
        """The round is abandoned before its verdicts."""

    async def forget_stages(self) -> None:  # noqa: B027 (nothing is a way, too)
        """The round is over: keep nothing of what the clients said."""

    def discard(self) -> None:  # noqa: B027
        """Delete what was kept for the sum."""


def accepted_updates(ctx: ServerContext, round_: RoundState) -> list[ReceivedUpdate]:
    """What is in the sum, in order of the clients' names."""
    accepted = set(round_.row.accepted)
    return [u for u in ctx.store.receipts(ctx.run, round_.number).values() if u.receipt.client in accepted]


def open_round_of(ctx: ServerContext, round_: RoundState) -> OpenRound:
    """What is the same for all tiers; sizes are still missing."""
    header = round_.header
    return OpenRound(
        ctx.run,
        round_.number,
        round_.row.header.digest,
        0,
        round_.identity_keys,
        header.codec,
        header.masked,
        ctx.spec.size,
        ctx.config.trainer.self_weight,
        header.statistics,
        tier_of=round_.tiers,
        num_classes=ctx.num_classes,
    )
