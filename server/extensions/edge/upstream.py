"""What an edge aggregator is to the federation above it: a client whose local training is a round of its own clients.

This is the server's half of that seam: it hears of orders and gives sums. Who stands on the other side (the client of
the federation above, in deploy/edge) is not known here: server and client never import one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from roughfed.errors import RoundError
from roughfed.training import TURN
from roughfed.types import Evaluation


class Withdrawn(RoundError):
    """The federation above has gone on: nobody waits for this round any more."""

    reason = "withdrawn"


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A round of the federation above, to be answered with a sum over the clients here; equal only to itself.

    Attributes:
        run: of the federation above.
        round: its number there.
        place: which round it is for schedules, from 1.
        planned: rounds that there will be, as schedules know them.
        params: model file to begin with; it stays until the order is answered.
        digest: of the parameters in it, 32 bytes.
        settings: the learning settings of the clients.
        facts: what is known of all clients of that federation, by name.
        until: when its round there ends (monotonic seconds).
    """

    run: str
    round: int
    place: int
    planned: int
    params: Path
    digest: bytes
    settings: Mapping[str, object]
    facts: Mapping[str, Sequence[float]]
    until: float

    @property
    def turn(self) -> dict[str, tuple[float, ...]]:
        """The facts by which schedules here go by the rounds above."""
        return {TURN: (float(self.place),), "rounds": (float(self.planned),)}


@dataclass(frozen=True, slots=True)
class Carried:
    """What goes up: the mean update of those whose updates count, and what it stands for.

    Attributes:
        delta: bare vector, little-endian float32 [D].
        weight: that it counts with above: examples, or clients where updates here count alike.
        clients: whose updates are in it.
        num_steps: mean number of their local steps, rounded; 0 where they did not say.
        metrics: their means, as in the round's report.
        seconds: the round took.
        class_counts: training examples of each class [C], of all clients here that told theirs; () where fewer than
            four did.
        evaluation: of the order's model on the clients' held-out data; None where fewer than four evaluated it.
    """

    delta: Path
    weight: int
    clients: int
    num_steps: int
    metrics: Mapping[str, float]
    seconds: float
    class_counts: tuple[int, ...] = ()
    evaluation: Evaluation | None = None


class Above(Protocol):
    """The federation above.

    Attributes:
        on_change: called whenever `wanted`, `over` or `met` may answer something else; the server sets it.
    """

    on_change: Callable[[], None]

    def wanted(self) -> Order | None:
        """The order that is open; None where there is none."""
        ...

    def over(self) -> str | None:
        """Why no order will come any more; None while some may.

        Raises:
            RoughfedError: the federation above refuses for good.
        """
        ...

    def met(self) -> bool:
        """Whether it was there since the start of this process."""
        ...

    def answer(self, order: Order, given: Carried | RoundError) -> None:
        """A sum, or why there is none."""
        ...

    def state(self) -> Mapping[str, object]:
        """What an operator is shown of it."""
        ...
