"""How a client finds the weight class that it names in a masked round: a table that the job brings, and its own loss.

Nobody else may know the loss, so the server says in advance, and to everybody the same, how many quarters each loss
stands for, 1 to 4; the client looks its own up, and draws between the two whole numbers around it. So the expected
weight is the right one, and what is seen of a client in a round is one of four numbers.

A loss means something beside those that the others had under the same model only. So the table has a row for each of
the last rounds that clients evaluated in, and a client takes the newest that it evaluated in as well.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roughfed.errors import RemoteProtocolError
from roughfed.secagg.adverts import FULL

FACT = "weight-classes"
"""Name of the table among a job's facts."""

LOSS_POINTS = 64
MOST_ROUNDS = 16
LARGEST = 2.0**20
_LOWEST = -16.0


@dataclass(frozen=True, slots=True)
class Table:
    """Expected quarters; a client cuts what it finds to 1 to 4.

    Attributes:
        usual: of a client at the typical loss, and of one that does not know where it stands; 1 to 4.
        rounds: number of a round -> of each loss of `loss_at`, never falling, 1 / LARGEST to LARGEST, [LOSS_POINTS].
            They go on beyond the classes, so that what lies between two points is right up to where it is cut.
    """

    usual: float
    rounds: Mapping[int, tuple[float, ...]]


def loss_at(point: int) -> float:
    """The loss that a column of the table is about: half octaves, the middles of the buckets of `loss_point`."""
    return float(2.0 ** (_LOWEST + (point + 0.5) / 2))


def loss_point(loss: float) -> int:
    """The bucket of a mean loss: half octaves from 2^-16 to 2^16, the first and the last open; of NaN the last."""
    if math.isnan(loss) or loss >= loss_at(LOSS_POINTS - 1):
        return LOSS_POINTS - 1
    return max(0, min(LOSS_POINTS - 1, int(2 * (math.log2(loss) - _LOWEST)))) if loss > 2.0**_LOWEST else 0


def write_table(table: Table) -> tuple[float, ...]:
    """A table as a fact: the usual quarters, then each round's number and row."""
    rows = (number for at, row in sorted(table.rounds.items()) for number in (float(at), *row))
    return (table.usual, *rows)


def read_table(numbers: Sequence[float]) -> Table:
    """What `write_table` gave; held to its bounds, because the client's secret goes by it.

    Raises:
        RemoteProtocolError: another length, quarters out of bounds, or a row that falls: it would tell more of a loss
            than how high it is.
    """
    width = LOSS_POINTS + 1
    rows, rest = divmod(len(numbers) - 1, width)
    if len(numbers) < 1 or rest or rows > MOST_ROUNDS:
        raise RemoteProtocolError(f"the fact {FACT} has {len(numbers)} numbers", reason="facts")
    found: dict[int, tuple[float, ...]] = {}
    for at in range(rows):
        number, *row = numbers[1 + at * width : 1 + (at + 1) * width]
        if sorted(row) != row or not number.is_integer() or not 1 / LARGEST <= row[0] <= row[-1] <= LARGEST:
            raise RemoteProtocolError(f"the fact {FACT} has a row that is none", reason="facts")
        found[int(number)] = tuple(row)
    if not 1 <= numbers[0] <= FULL:
        raise RemoteProtocolError(f"the fact {FACT} begins with {numbers[0]:g} quarters", reason="facts")
    return Table(numbers[0], found)


def expected(table: Table, losses: Mapping[int, float]) -> float:
    """The quarters that a client should have in the mean, 1 to 4.

    Args:
        table: of the job.
        losses: number of a round -> its mean loss under that round's base model.
    """
    known = table.rounds.keys() & losses.keys()
    if not known:
        return table.usual
    return min(max(_between(table.rounds[max(known)], losses[max(known)]), 1.0), float(FULL))


def _between(row: Sequence[float], loss: float) -> float:
    """The row at a loss between its points: straight lines on logarithmic scales."""
    if not loss > loss_at(0):
        return row[-1] if math.isnan(loss) else row[0]
    place = 2 * (math.log2(min(loss, loss_at(LOSS_POINTS - 1))) - _LOWEST) - 0.5
    at = min(int(place), LOSS_POINTS - 2)
    share = place - at
    return row[at] ** (1 - share) * row[at + 1] ** share


def drawn(quarters: float, secret: bytes) -> int:
    """The class: one of the two whole numbers around the expected quarters, so that these are what it is in the mean.

    Args:
        quarters: 1 to 4.
        secret: 8 bytes or more that only this client knows, new in each round.
    """
    low = min(max(int(quarters), 1), FULL)
    above = int.from_bytes(secret[:8], "big") / 2**64 < quarters - low
    return min(low + above, FULL)


def median_loss(histogram: Sequence[int]) -> float | None:
    """The median of the losses behind a histogram over `loss_point`, between the edges of its bucket; None of nobody.

    Every client has one voice, whatever it claims: the mean of the losses would be anybody's to move.
    """
    behind: list[int] = []
    for count in histogram:
        behind.append((behind[-1] if behind else 0) + max(count, 0))
    if not behind or not behind[-1]:
        return None
    half = behind[-1] / 2
    at = bisect(behind, half - 0.5)
    before = behind[at - 1] if at else 0
    share = (half - before) / (behind[at] - before)
    return float(2.0 ** (_LOWEST + (at + share) / 2))
