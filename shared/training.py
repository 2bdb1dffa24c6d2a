"""One local training as the agent and the trainer speak of it: what comes with it, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from roughfed.types import Evaluation

LABEL_AUDIT = "label-audit.csv"
LABEL_AUDIT_COLUMNS = ("id", "label", "suggested", "score")
"""The list of labels that seem wrong, in the client's state/; never sent."""

TURN = "turn"
"""The fact that says which of its cluster's rounds a round is."""

NO_FACTS: Mapping[str, Sequence[float]] = MappingProxyType({})
NOTHING_SAID: Mapping[int, float] = MappingProxyType({})
NO_STATISTICS: Mapping[str, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StatePlace:
    """Where the state of a client's trainer lies between rounds: memories, second nets, importances. Never sent.

    Attributes:
        folder: of files, one for each of the last rounds.
        key: 32 secret bytes that seal them; it goes through the socket only.
    """

    folder: Path
    key: bytes


@dataclass(frozen=True, slots=True)
class BaseFile:
    """The frozen base that a model stands on (`roughfed.adapters`), as it lies on this machine.

    Attributes:
        path: model file of its tensors; its digest was checked.
        scale: alpha / r of the adapters on it.
    """

    path: Path
    scale: float = 1.0

    def plain(self) -> dict[str, object]:
        """As JSON carries it."""
        return {"path": str(self.path), "scale": self.scale}

    @classmethod
    def of(cls, plain: Mapping[str, Any] | None) -> BaseFile | None:
        """What `plain` wrote; None stays None."""
        return None if plain is None else cls(Path(plain["path"]), plain["scale"])


@dataclass(frozen=True, slots=True)
class Turn:
    """Where in a run a training stands, and what came with it beside the learning settings.

    Attributes:
        round: from 1.
        rounds: of the whole run, as planned; what schedules go by.
        run: its name.
        facts: what the server made known of all clients together, by name.
        wanted: names and lengths of the statistics that the header asks a training for, as "name:length".
        allow_memory: whether the client's policy lets examples be kept from round to round.
        state: where state is kept; None keeps none.
        audit: file to write the labels into that seem wrong; None writes none.
        tensors: patterns of the tensors that are trained, and make the delta; the others are frozen. None: all of them.
        said: rounds before this one in which this client's update is in the sum, the newest of them -> the share of it
            that the clip let through, 0..1.
        base: the frozen base that the model stands on; None where all of it is trained.
        redraw: whether examples are drawn with replacement: the model stands still, and two trainings of one set of
            examples would tell what other clients make of the difference of two sums.
        seconds_left: of the round; 0 where that is not known. For whoever trains by asking others: the trainer process
            is not told.
    """

    round: int
    rounds: int = 1
    run: str = ""
    facts: Mapping[str, Sequence[float]] = field(default_factory=lambda: NO_FACTS)
    wanted: tuple[str, ...] = ()
    allow_memory: bool = True
    state: StatePlace | None = None
    audit: Path | None = None
    said: Mapping[int, float] = field(default_factory=lambda: NOTHING_SAID)
    tensors: tuple[str, ...] = ()
    base: BaseFile | None = None
    redraw: bool = False
    seconds_left: float = 0.0

    @property
    def place(self) -> int:
        """Which of its cluster's rounds it is, from 1: what schedules and streams go by; without clusters `round`."""
        return max(1, int((self.facts.get(TURN) or (self.round,))[0]))

    @property
    def planned(self) -> int:
        """Rounds that there will be, as schedules know them."""
        return max(planned(self.facts) or self.rounds, self.place)

    def plain(self) -> dict[str, object]:
        """As JSON carries it."""
        state = None if self.state is None else {"folder": str(self.state.folder), "key": self.state.key.hex()}
        facts = {name: list(values) for name, values in self.facts.items()}
        fields = {"round": self.round, "rounds": self.rounds, "run": self.run, "allow_memory": self.allow_memory}
        audit = None if self.audit is None else str(self.audit)
        said = [list(pair) for pair in self.said.items()]
        base = None if self.base is None else self.base.plain()
        whole = {
            "facts": facts,
            "wanted": list(self.wanted),
            "state": state,
            "audit": audit,
            "said": said,
            "base": base,
            "redraw": self.redraw,
            "tensors": list(self.tensors),
        }
        return {**fields, **whole}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Turn:
        """What `plain` wrote."""
        given = dict(plain)
        if (state := given.pop("state")) is not None:
            state = StatePlace(Path(state["folder"]), bytes.fromhex(state["key"]))
        facts = {name: tuple(values) for name, values in given.pop("facts").items()}
        audit = None if (path := given.pop("audit")) is None else Path(path)
        said = {int(number): float(share) for number, share in given.pop("said")}
        given |= {"wanted": tuple(given["wanted"]), "base": BaseFile.of(given.get("base"))}
        given["tensors"] = tuple(given.get("tensors", ()))
        return cls(facts=facts, state=state, audit=audit, said=said, **given)


def planned(facts: Mapping[str, Sequence[float]]) -> int:
    """Rounds that there will be, where a server goes by other ones than its own; 0 where it does not."""
    return int(facts["rounds"][0]) if facts.get(TURN) and facts.get("rounds") else 0


@dataclass(frozen=True, slots=True)
class FitResult:
    """Local training; the delta itself is in the file that was asked for.

    Attributes:
        num_examples: training examples of this client.
        num_steps: batches drawn.
        metrics: finite numbers by name, for example the mean training loss.
        seconds: wall time of loading, training and writing the delta.
        statistics: what `Turn.wanted` asked for, by name.
        weight: how much this client's updates should count from the next round on, by its own look at its data: one of
            the public classes 0.25, 0.5, 0.75, 1.
        lost_state: files of what the parts had kept were there and could not be used.
        class_counts: training examples of each class [C], and
        evaluation: of the model to begin with, where the trainer knows them only afterwards: an edge, whose clients
            tell them in the round. Not of a trainer process.
    """

    num_examples: int
    num_steps: int
    metrics: Mapping[str, float]
    seconds: float
    statistics: Mapping[str, Sequence[int]] = field(default_factory=lambda: NO_STATISTICS)
    weight: float = 1.0
    lost_state: int = 0
    class_counts: tuple[int, ...] = ()
    evaluation: Evaluation | None = None

    def plain(self) -> dict[str, object]:
        """As JSON carries it, and as the constructor takes it."""
        vectors = {name: list(values) for name, values in self.statistics.items()}
        figures = {"num_examples": self.num_examples, "num_steps": self.num_steps, "metrics": dict(self.metrics)}
        told = {"weight": self.weight, "lost_state": self.lost_state}
        return {**figures, "seconds": self.seconds, "statistics": vectors, **told}
