"""What the parts of a local training see, and where in the loop they act.

A part is a function `(options, context) -> Hooks`: it names the places of the loop at which it does something, and
leaves the others alone. Files in a room never import one another; the table of a room is its `__init__`.

B batch, C classes, K experts, M networks, N local examples, D parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from roughfed.client.trainer.settings import TrainerSettings
from roughfed.methods import Value

if TYPE_CHECKING:
    from roughfed.client.trainer.examples.batches import Source
    from roughfed.client.trainer.model.head import Head

Options = Mapping[str, Value]
Tensors = dict[str, Tensor]
NO_FACTS: Mapping[str, Sequence[float]] = {}


def nothing(_share: float) -> None:
    """Nobody asks whether a training goes on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples of one step, on the device.

    Attributes:
        x: inputs [B, ...].
        y: labels as given, int64 [B] (float32 [B, ...] for regression).
        ids: int64 [B], the same example always has the same id; it is the key of what is remembered about an example.
        at: int64 [B], places in the source of this training; -1 for what is not from there (a memory's).
        other: int64 [B], the second label of a mixed example; None where nothing is mixed.
        share: float32 [B], the part of `y` in a mixed example, 0..1; 1 - share is the part of `other`.
        weight: float32 [B], how much each example counts; None: all the same.
        logits: float32 [B, C], what was noted of a remembered example; None for others.
    """

    x: Tensor
    y: Tensor
    ids: Tensor
    at: Tensor
    other: Tensor | None = None
    share: Tensor | None = None
    weight: Tensor | None = None
    logits: Tensor | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.y)

    def take(self, where: Tensor) -> Batch:
        """The examples at `where`, int64 or bool."""
        parts = {name: getattr(self, name) for name in self.__slots__}
        return replace(self, **{name: part[where] for name, part in parts.items() if part is not None})


class Memory(Protocol):
    """Examples that are kept from round to round (a part of the room `memory/`).

    Attributes:
        noting: whether logits are noted beside the examples; parts that replay them say so.
    """

    noting: bool

    @property
    def labels(self) -> Tensor:
        """Of each example, int64 [M]."""
        ...

    @property
    def tasks(self) -> Tensor:
        """The task that each came with, int64 [M]; -1 without tasks."""
        ...

    def __len__(self) -> int:
        """Examples in it."""
        ...

    def add(self, batch: Batch, logits: Tensor | None) -> None:
        """Offer those of a batch that came from the source (at >= 0), not augmented; logits [B, C] beside them."""
        ...

    def draw(self, count: int) -> Batch:
        """At most `count` of them, without replacement, on the device; `at` is -1."""
        ...

    def everything(self) -> Batch:
        """All of them."""
        ...

    def rows(self, at: Tensor) -> Batch:
        """Those at some places of the memory, int64 [B]."""
        ...

    def forget(self, ids: Collection[int]) -> int:
        """Drop the examples with these ids, and what was made of them; how many went."""
        ...


@dataclass(slots=True)
class Controls:
    """SCAFFOLD's control variates in one training; the parameters by name, as in the model file.

    Attributes:
        now: those of all clients together, c; float32 on the device.
        scale: s, by which what travels is multiplied.
        said: as `Turn.said`.
        since: the last round that was taken back, 0 without one: a c_i from up to then is none.
        change: what travels, s (c_i+ - c_i), float32 [P]; None until the training has ended.
    """

    now: Tensors
    scale: float
    said: Mapping[int, float]
    since: int = 0
    change: Tensor | None = None


@dataclass(slots=True)
class Position:
    """Where the loop is.

    Attributes:
        epoch: of this training, from 0.
        step: of this training, from 0.
        steps: that are planned.
        lr: of the step that is being made; a part may change it in the hook `gradient`.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 1
    lr: float = 0.0


@dataclass(slots=True)
class Scope:
    """What of a model learns here.

    Attributes:
        controls: control variates that came with the model; None where none travel.
        private: names of the tensors that stay with this client.
        frozen: names of the shared tensors that this client's tier does not train.
    """

    controls: Controls | None = None
    private: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()


@dataclass(slots=True)
class Context:
    """One training: what its parts know, and what they share.

    Attributes:
        model: its parameters are what the federation learns; `nets[0]`.
        source: this training's examples, N of them.
        settings: learning settings.
        num_classes: C; 0 for regression.
        generator: on the CPU, seeded by run, client and round: the same round gives the same draws.
        round: from 1.
        rounds: of the whole run, as planned; at least `round`.
        task: of the stream that the examples come from, from 0; -1 where there are no tasks.
        facts: what the server made known of all clients together, by name; flat lists of numbers.
        remembered: state by part: tensors that last from round to round, on the CPU or the device. What a part finds
            there may be missing (a first round, lost state) but is never damaged.
        nets: networks in training, the model first.
        memory: the memory of this method; None without one.
        clean: a few examples with trusted labels; None where the app gives none.
        pasted: (part of all labels, class shares float32 [C] of that part) where an augmentation brings in examples by
            their class; None: labels are as common as in the source.
        at: where the loop is.
        scope: what of the model learns, and what goes with it.
        alive: to be called between the batches of a pass beside the loop; may raise to abandon the training.
    """

    model: nn.Module
    source: Source
    settings: TrainerSettings
    num_classes: int
    generator: torch.Generator
    round: int = 1
    rounds: int = 1
    task: int = -1
    facts: Mapping[str, Sequence[float]] = field(default_factory=lambda: NO_FACTS)
    remembered: dict[str, Tensors] = field(default_factory=dict)
    nets: list[nn.Module] = field(default_factory=list)
    memory: Memory | None = None
    clean: Source | None = None
    pasted: tuple[float, Tensor] | None = None
    at: Position = field(default_factory=Position)
    scope: Scope = field(default_factory=Scope)
    alive: Callable[[float], None] = nothing
    _global: list[Tensor] | None = None
    _head: Head | None = None

    def __post_init__(self) -> None:
        """The model is the first network."""
        self.nets = self.nets or [self.model]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def progress(self) -> float:
        """How much of the whole run is over, 0..1: schedules go by it, since a round is a small part of a training."""
        return min(1.0, (self.round - 1 + self.at.step / max(1, self.at.steps)) / max(1, self.rounds))

    def state(self, part: str) -> Tensors:
        """The tensors that a part keeps; empty when there are none yet."""
        return self.remembered.setdefault(part, {})

    def counts(self) -> Tensor:
        """Local training examples of each class, float32 [C] on the device."""
        targets = self.source.targets
        if targets is None:  # the plan refuses parts that need counts where there are none
            return torch.zeros(self.num_classes, device=self.device)
        return torch.bincount(targets, minlength=self.num_classes).to(self.device, torch.float32)

    def global_parameters(self) -> list[Tensor]:
        """The parameters that this round began with, in the order of `model.parameters()`; copies."""
        if self._global is None:
            self._global = [p.detach().clone() for p in self.model.parameters()]
        return self._global

    def head(self) -> Head:
        """The model's last linear layer, and the features before it."""
        from roughfed.client.trainer.model.head import find_head

        if self._head is None:
            self._head = find_head(self.model, self.num_classes)
        return self._head

    def draw(self, high: int, size: int) -> Tensor:
        """`size` whole numbers from 0 to high - 1, int64 on the device."""
        return torch.randint(high, (size,), generator=self.generator).to(self.device)

    def uniform(self, size: int) -> Tensor:
        """`size` numbers from 0 to 1, float32 on the device."""
        return torch.rand(size, generator=self.generator).to(self.device)


Outputs = list[Tensor]
"""What each network made of a batch: logits [B, C] of the model, of the second net, ...; [K, B, C] with experts."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a part does, by the place of the loop; None: nothing there.

    Attributes:
        begin: before the first step, with the round's parameters in the model: looks at the data, prepares state.
        epoch: before each epoch.
        order: sampler: the places of one epoch, int64 [n] on the CPU, of 0..N-1.
        transform: changes a batch before the forward pass: mixes it, weighs it.
        forward: how a network is run, [B, ...] -> [B, C], or [K, B, C] with experts.
        loss: (output, batch) -> float32 [B], by example, before any mixing: the loop blends `y` and `other`.
        select: (losses [M, B], outputs, batch) -> (losses [M, B], weights [M, B]); what counts, and how much. The value
            of a step is sum(weights * losses) / sum(weights) of each network, added up.
        term: added to the value of a step: (outputs, batch) -> scalar, in the loss's unit.
        objective: instead of forward, loss and select: batch -> (scalar, outputs). At most one part has it.
        gradient: after the backward pass, before the step: may change `.grad`.
        after: after the step.
        settle: after the last step, before any `end`: what the weights come to be that all others then go by.
        end: at last: Fisher information, pruning, a second phase. Gives metrics.
        memory: what this part keeps examples in.
        use: instead of a training: changes the model from the common one into the one that this client uses, and says
            how many epochs of local training are to follow (rooms `personal`). What is remembered is a copy then.
    """

    begin: Callable[[], None] | None = None
    epoch: Callable[[], None] | None = None
    order: Callable[[], Tensor] | None = None
    transform: Callable[[Batch], Batch] | None = None
    forward: Callable[[nn.Module, Tensor], Tensor] | None = None
    loss: Callable[[Tensor, Batch], Tensor] | None = None
    select: Callable[[Tensor, Outputs, Batch], tuple[Tensor, Tensor]] | None = None
    term: Callable[[Outputs, Batch], Tensor] | None = None
    objective: Callable[[Batch], tuple[Tensor, Outputs]] | None = None
    gradient: Callable[[], None] | None = None
    after: Callable[[Outputs, Batch], None] | None = None
    settle: Callable[[], None] | None = None
    end: Callable[[], Mapping[str, float]] | None = None
    memory: Memory | None = None
    use: Callable[[], int] | None = None


Maker = Callable[[Options, Context, "Plan"], Hooks]
"""A part: its options, the training, and the plan that it becomes a piece of (for the loss of what it replays)."""


class Plan(Protocol):
    """What a part may ask of the others.

    Attributes:
        loss: what the parts made so far have as the loss; a part that changes it wraps it.
        order: places of an epoch, where the method has a sampler; known when all parts are made.
    """

    loss: Callable[[Tensor, Batch], Tensor]
    order: Callable[[], Tensor] | None

    def run(self, net: nn.Module, x: Tensor) -> Tensor:
        """A forward pass, [B, C] or [K, B, C]."""
        ...

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        """The method's loss by example, float32 [B], mixed labels blended."""
        ...

    def value(self, batch: Batch) -> tuple[Tensor, Outputs]:
        """The method's objective on a batch, without the added terms: scalar and outputs."""
        ...
