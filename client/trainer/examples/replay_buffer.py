"""The examples of a memory, as columns of a part's state. M examples kept, B offered, C classes.

Every example has a rank that follows from its id and a secret number of this memory, as good as drawn at random and
always the same: keeping the lowest ranks is a uniform sample without replacement of all ids that were ever offered.
So an example that comes again in a later round is neither kept twice nor given a second chance, which a counter of what
went by (Vitter's algorithm R) would do, and the sample does not depend on how often a task was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from roughfed.client.trainer.examples.buffer_format import Form
from roughfed.client.trainer.parts import Batch, Context, Hooks, Outputs, Plan, Tensors

Order = Callable[[Tensor, Tensor], Tensor]
"""(ranks int64 [n], labels int64 [n]) -> places int64 [n], those to keep first first."""

SALT = "_salt"  # a name with a line in front is no column


class ReplayBuffer:
    """A memory (`parts.Memory`).

    Attributes:
        noting: whether logits are noted beside the examples; set by parts that replay them.
    """

    def __init__(self, part: str, slots: int, context: Context, *, order: Order, form: Form | None = None) -> None:
        """Take up the state of a part.

        Args:
            part: whose state it is.
            slots: how many whole examples it may hold; more of them in a smaller form.
            context: the training.
            order: which are kept when there are too many.
            form: see `forms.Form`.
        """
        self.noting = False
        self.state, self._context, self._slots = context.state(part), context, slots
        self._order, self.form = order, form or Form()
        for name, column in self.state.items():
            self.state[name] = column.to(context.device)
        if SALT not in self.state:
            self.state[SALT] = torch.randint(1 << 62, (), generator=context.generator).to(context.device)
        self._like = context.source.gather(torch.zeros(1, dtype=torch.int64)).x

    def __len__(self) -> int:
        """M."""
        return len(self.state["y"]) if "y" in self.state else 0

    @property
    def capacity(self) -> int:
        """The largest M."""
        return self.form.capacity(self._slots, self._like.shape[1:])

    @property
    def labels(self) -> Tensor:
        """int64 [M]."""
        return self.state["y"] if "y" in self.state else torch.zeros(0, dtype=torch.int64, device=self._like.device)

    @property
    def tasks(self) -> Tensor:
        """The task that each example came with, int64 [M]; -1 where there were no tasks."""
        return self.state.get("task", self.labels)

    @property
    def ranks(self) -> Tensor:
        """int64 [M]."""
        return self.state.get("rank", self.labels)

    def counts(self) -> Tensor:
        """Examples of each class, float32 [C]."""
        return torch.bincount(self.labels, minlength=self._context.num_classes).float()

    def rank(self, ids: Tensor) -> Tensor:
        """The fixed rank of ids, int64 [B], 0 or more."""
        return mixed(ids ^ self.state[SALT])

    def add(self, batch: Batch, logits: Tensor | None) -> None:
        """Offer examples; see `parts.Memory`. Those that are here already stay as they are."""
        fresh = (batch.at >= 0) & ~torch.isin(batch.ids, self._ids) & ~_repeated(batch.ids)
        batch, logits = batch.take(fresh), None if logits is None else logits[fresh]
        if len(batch):
            self.admit({**self.form.pack(batch.x), **self.notes(batch, logits)}, self._order)

    def notes(self, batch: Batch, logits: Tensor | None) -> Tensors:
        """The columns beside the inputs; a rank by id, NaN where no logits are noted."""
        if logits is None:
            logits = torch.full((len(batch), self._context.num_classes), torch.nan, device=batch.y.device)
        task = torch.full_like(batch.ids, self._context.task)
        noted = logits.detach().to(torch.float16)
        return {"y": batch.y, "ids": batch.ids, "rank": self.rank(batch.ids), "task": task, "logits": noted}

    def admit(self, rows: Tensors, order: Order) -> None:
        """Add rows, and keep those that come first by `order`."""
        if not len(self):
            self.state |= {name: column[:0].clone() for name, column in rows.items()}
        here, ranks = len(self), torch.cat([self.state["rank"], rows["rank"]])
        first = order(ranks, torch.cat([self.labels, rows["y"]]))[: self.capacity]
        keep = torch.zeros(len(ranks), dtype=torch.bool, device=ranks.device)
        keep[first] = True
        new, holes = keep[here:].nonzero()[:, 0], (~keep[:here]).nonzero()[:, 0]
        moved = min(len(new), len(holes))
        for name, column in rows.items():
            self.state[name][holes[:moved]] = column[new[:moved]].to(self.state[name].dtype)
        if moved < len(new):
            for name, column in rows.items():
                self.state[name] = torch.cat([self.state[name], column[new[moved:]].to(self.state[name].dtype)])
        if moved < len(holes):
            stay = torch.ones(here, dtype=torch.bool, device=ranks.device)
            stay[holes[moved:]] = False
            self.select(stay)

    def select(self, which: Tensor) -> None:
        """Keep only some, bool [M] or places int64."""
        for name in self._columns:
            self.state[name] = self.state[name][which]

    def forget(self, ids: Collection[int]) -> int:
        """Drop the examples with these ids; how many there were."""
        if not len(self):
            return 0
        gone = torch.isin(self._ids, torch.tensor(sorted(ids), dtype=torch.int64, device=self._ids.device))
        self.select(~gone)
        return int(gone.sum())

    def draw(self, count: int) -> Batch:
        """See `parts.Memory`."""
        return self.rows(torch.randperm(len(self), generator=self._context.generator)[:count])

    def everything(self) -> Batch:
        """See `parts.Memory`."""
        return self.rows(torch.arange(len(self)))

    def rows(self, at: Tensor) -> Batch:
        """The examples at some places, int64 [B]."""
        at = at.to(self._like.device)
        rows = {name: self.state[name][at] for name in self._columns}
        if not rows:
            none = torch.zeros(0, dtype=torch.int64, device=at.device)
            return Batch(self._like[:0], none, none, none)
        x, nowhere = self.form.unpack(rows, self._like), torch.full_like(at, -1)
        return Batch(x, rows["y"], rows["ids"], nowhere, logits=rows["logits"].float())

    @property
    def _ids(self) -> Tensor:
        return self.state.get("ids", self.labels)

    @property
    def _columns(self) -> list[str]:
        return [name for name in self.state if not name.startswith("_")] if len(self) else []


def memory_hooks(kept: ReplayBuffer, context: Context, plan: Plan) -> Hooks:
    """Offer every batch of the first local epoch, as it was before it was changed, with what the model said of it.

    Later epochs bring the same examples again, and by then the model knows them by heart.
    """
    seen: list[Batch] = []

    def transform(batch: Batch) -> Batch:
        seen[:] = [kept.form.seen(batch)]
        return seen[0]

    def after(outputs: Outputs, given: Batch) -> None:
        if context.at.epoch:
            return
        logits = logits_of(outputs[0]) if outputs and seen[0].other is None else None
        if kept.noting and (logits is None or len(logits) != len(given)):  # mixed: nothing was said of these inputs
            with torch.no_grad():
                logits = logits_of(plan.run(context.model, kept.form.seen(given).x))
        kept.add(given, logits if kept.noting else None)

    return Hooks(transform=transform, after=after, memory=kept)


def logits_of(output: Tensor) -> Tensor:
    """[B, C] of what a network gave; the mean of experts [K, B, C]."""
    return output.mean(dim=0) if output.dim() == 3 else output


def by_rank(ranks: Tensor, _labels: Tensor) -> Tensor:
    """An Order: the lowest ranks."""
    return ranks.argsort()


def balanced(ranks: Tensor, labels: Tensor) -> Tensor:
    """An Order: the lowest ranks of every class in turn, so that the classes come to be of one size."""
    first = ranks.argsort()
    by_class = first[labels[first].argsort(stable=True)]
    sizes = torch.bincount(labels)
    starts = sizes.cumsum(0) - sizes
    turn = torch.empty_like(ranks)
    turn[by_class] = torch.arange(len(ranks), device=ranks.device) - starts[labels[by_class]]
    return first[turn[first].argsort(stable=True)]


def mixed(keys: Tensor) -> Tensor:
    """A mixing of 64-bit keys in which every bit depends on every bit (splitmix64, Steele et al., OOPSLA 2014).

    Args:
        keys: int64 [n].

    Returns:
        int64 [n], 0 or more: the upper 63 bits.
    """
    z: Any = keys + -7046029254386353131  # 0x9E3779B97F4A7C15; sums and products wrap
    z = (z ^ _shifted(z, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    z = (z ^ _shifted(z, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return _shifted(z ^ _shifted(z, 31), 1)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Right, zeros coming in."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _repeated(ids: Tensor) -> Tensor:
    """Which of a batch's ids stand there a second time, bool [B]: a sampler may draw an example twice."""
    order = ids.argsort(stable=True)  # by pairs a batch of 60,000 would take gigabytes
    ranked, repeated = ids[order], torch.zeros_like(ids, dtype=torch.bool)
    repeated[order[1:]] = ranked[1:] == ranked[:-1]
    return repeated
