"""The bytes of the statistics behind each update: those of every round, and those of the round that asks for most."""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.config import FederationConfig
from roughfed.deploy.plan_groups import Grouping
from roughfed.secagg.statistics import read_statistics
from roughfed.server.aggregate.fednova import asks
from roughfed.server.cohort.statistics import Shape, asked, check_shape
from roughfed.server.fairness.client_weights import losses_asked
from roughfed.server.masked.opening import wanted_statistics
from roughfed.types import Spec


@dataclass(frozen=True, slots=True)
class StatisticBytes:
    """Bytes of one client's statistics in a masked round.

    Attributes:
        usual: in the first round.
        most: in the round that asks for most.
        round: that round.
        names: what it asks for beyond the first one.
    """

    usual: int
    most: int
    round: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        """For people."""
        text = f"Statistics behind each masked update: {self.usual:,} bytes"
        if self.most == self.usual:
            return f"{text} in each round."
        names = f" ({', '.join(self.names)})" if self.names else ""
        return f"{text} in the first round, {self.most:,} in round {self.round}{names}."


def shape_of(spec: Spec) -> Shape:
    """Classes and features of a classifier by its last matrix; neither where it has none."""
    matrices = [tensor.shape for tensor in spec.tensors if len(tensor.shape) == 2]
    return Shape(*matrices[-1]) if matrices else Shape(0)


def sums(config: FederationConfig, shape: Shape, groups: Grouping) -> StatisticBytes:
    """What the statistics of a masked run cost.

    Raises:
        ConfigError: the settings ask for what the model cannot give.
    """
    if config.federation.task != "classification":
        shape = Shape(0)
    check_shape(config.trainer, shape)
    rounds = config.round.rounds
    each = [_texts(config, shape, number) for number in range(1, rounds + 1)]
    costs = [_bytes(texts, groups) for texts in each]
    most = max(costs)
    at = costs.index(most)
    new = tuple(text.partition(":")[0] for text in each[at] if text not in each[0])
    return StatisticBytes(costs[0], most, at + 1, new)


def _texts(config: FederationConfig, shape: Shape, number: int) -> tuple[str, ...]:
    extra = asked(config.trainer, shape, number=number, rounds=config.round.rounds)
    steps = asks(number, config.round.rounds, known=number > 1) if config.aggregate.scaling == "fednova" else ()
    return tuple(dict.fromkeys((*wanted_statistics(config, shape.classes), *extra, *steps, *losses_asked(config))))


def _bytes(texts: tuple[str, ...], groups: Grouping) -> int:
    return sum(s.lanes for s in read_statistics(texts, groups.levels)) * groups.lane_bits // 8
