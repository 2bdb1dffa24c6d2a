"""The app's data as batches on the device. B is the batch, N the number of examples.

Arrays and tensors are gathered by index, on the device when they fit there: no DataLoader, no copy a step.
A user's Dataset gets a DataLoader; a user's DataLoader is used as it is, with its own batch size and order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, TensorDataset

from roughfed.client.api import is_pair
from roughfed.client.trainer.parts import Batch
from roughfed.errors import ConfigError
from roughfed.rng import derive

RESIDENT_SHARE = 0.5  # of the device's free memory; the rest is for activations

Pair = tuple[Tensor, Tensor]


class Source(Protocol):
    """Examples that can be walked through, in order or shuffled."""

    num_examples: int
    targets: Tensor | None  # all of them, where they are at hand
    have: frozenset[str]  # what it gives of `roughfed.methods.NEEDS`

    def epoch(self, batch_size: int, shuffle_seed: int | None) -> Iterator[Pair]:
        """Batches (x [B, ...], y [B, ...]) on the device; in order when the seed is None."""
        ...

    def batches(
        self, batch_size: int, shuffle_seed: int | None, order: Tensor | None = None, *, redraw: bool = False
    ) -> Iterator[Batch]:
        """The same as whole batches; `order`, int64 [n] on the CPU, instead of the shuffle where `have` says so.

        `redraw`: as many of them are drawn with replacement, where the order is not the user's own.
        """
        ...

    def gather(self, at: Tensor) -> Batch:
        """The examples at some places, int64 [B], on the device.

        Raises:
            ConfigError: they are not at hand.
        """
        ...

    def num_batches(self, batch_size: int) -> int:
        """Batches in an epoch."""
        ...


class Arrays:
    """Examples in two tensors."""

    have = frozenset({"counts", "order", "ids"})

    def __init__(self, x: Tensor, y: Tensor, device: torch.device, ids: Tensor | None = None) -> None:
        """Keep x [N, ...], y [N, ...] and ids int64 [N] (None: 0..N-1), on the device when they fit."""
        self.num_examples = len(x)
        self._device = device
        home = device if _fits(x.nbytes + y.nbytes, device) else torch.device("cpu")
        self._x, self._y = x.to(home), y.to(home)
        self._ids = (torch.arange(len(x)) if ids is None else ids).to(home)
        self.targets: Tensor | None = self._y

    def check_finite(self, name: str) -> None:
        """Refuse what no model can learn from, before anything is trained; `name`: of the examples, "train".

        Raises:
            ConfigError: an input or a target is no number; says where the first one is, and how many examples have one.
        """
        for part, values in (("x", self._x), ("y", self._y)):
            if not values.is_floating_point() or bool(torch.isfinite(values.sum(dtype=torch.float64))):
                continue  # a sum in float64 of what is finite is
            bad = ~torch.isfinite(values)
            row, *places = cast("list[int]", bad.nonzero()[0].tolist())
            count = int(bad.reshape(len(values), -1).any(dim=1).sum())
            where = "".join(f"[{place}]" for place in places)
            value = float(values[(row, *places)])
            cause = f"{name}: {part}[{row}]{where} is {value:g}, and {count} of {len(values)} examples have such values"
            raise ConfigError(cause, key="data", cure="fill them in or leave these examples out")

    def epoch(self, batch_size: int, shuffle_seed: int | None) -> Iterator[Pair]:
        """See Source."""
        for batch in self.batches(batch_size, shuffle_seed):
            yield batch.x, batch.y

    def batches(
        self, batch_size: int, shuffle_seed: int | None, order: Tensor | None = None, *, redraw: bool = False
    ) -> Iterator[Batch]:
        """See Source. A shuffled last batch of one example is left out: BatchNorm cannot learn from it."""
        if shuffle_seed is not None and order is None:  # on the CPU, so that every device sees the same order
            order = torch.randperm(self.num_examples, generator=torch.Generator().manual_seed(shuffle_seed))
        if redraw and order is not None:
            generator = torch.Generator().manual_seed(derive(shuffle_seed or 0, "redraw"))
            order = order[torch.randint(len(order), (len(order),), generator=generator)]
        places = torch.arange(self.num_examples) if order is None else order
        places = places.to(self._x.device)
        for at in range(0, _stop(len(places), batch_size, shuffled=order is not None), batch_size):
            yield self.gather(places[at : at + batch_size])

    def gather(self, at: Tensor) -> Batch:
        """See Source."""
        at = at.to(self._x.device)
        x, y, ids = (part[at].to(self._device) for part in (self._x, self._y, self._ids))
        return Batch(x, y, ids, at.to(self._device))

    def num_batches(self, batch_size: int) -> int:
        """See Source."""
        return -(-_stop(self.num_examples, batch_size, shuffled=True) // batch_size)


def _stop(examples: int, batch_size: int, *, shuffled: bool) -> int:
    lonely = shuffled and batch_size > 1 and examples > 1 and examples % batch_size == 1
    return examples - lonely


class Loaded:
    """Examples behind a torch DataLoader."""

    have: frozenset[str] = frozenset()

    def __init__(self, source: Any, device: torch.device, dtype: torch.dtype) -> None:
        """Keep a Dataset or a DataLoader; `dtype` is what float inputs are cast to."""
        self._loader = cast("DataLoader[Any]", source) if isinstance(source, DataLoader) else None
        self._dataset: Any = source if self._loader is None else self._loader.dataset
        self._device, self._dtype = device, dtype
        if not hasattr(self._dataset, "__len__"):
            raise ConfigError("a data set without a length", key="data", cure="give a map-style Dataset")
        self.num_examples = len(self._dataset) if self._loader is None else examples_of(self._loader)
        self.targets: Tensor | None = None

    def epoch(self, batch_size: int, shuffle_seed: int | None) -> Iterator[Pair]:
        """See Source."""
        yield from self._pairs(self._loader_for(batch_size, shuffle_seed))

    def _pairs(self, loader: DataLoader[Any]) -> Iterator[Pair]:
        for batch in loader:
            if not is_pair(batch) or not all(torch.is_tensor(t) for t in batch):
                raise ConfigError(f"a batch is {_kind(batch)}, want (x, y)", key="data")
            x, y = batch
            yield cast_input(x, self._dtype).to(self._device), cast_target(y).to(self._device)

    def batches(
        self, batch_size: int, shuffle_seed: int | None, order: Tensor | None = None, *, redraw: bool = False
    ) -> Iterator[Batch]:
        """See Source; ids and places are -1: a DataLoader does not tell which examples it gives."""
        if order is not None:
            raise _not_at_hand()
        for x, y in self._pairs(self._loader_for(batch_size, shuffle_seed, redraw=redraw)):
            unknown = torch.full((len(y),), -1, dtype=torch.int64, device=self._device)
            yield Batch(x, y, unknown, unknown)

    def gather(self, at: Tensor) -> Batch:
        """See Source."""
        del at
        raise _not_at_hand()

    def num_batches(self, batch_size: int) -> int:
        """See Source."""
        return len(self._loader_for(batch_size, 0))

    def _loader_for(self, batch_size: int, shuffle_seed: int | None, *, redraw: bool = False) -> DataLoader[Any]:
        if self._loader is not None:
            if shuffle_seed is not None and self._loader.generator is not None:
                self._loader.generator.manual_seed(shuffle_seed)
            return self._loader
        generator = torch.Generator().manual_seed(shuffle_seed or 0)
        lonely = shuffle_seed is not None and batch_size > 1 and len(self._dataset) % batch_size == 1
        drop_last = lonely and len(self._dataset) > 1
        if redraw:
            sampler = RandomSampler(self._dataset, replacement=True, generator=generator)
            return DataLoader(self._dataset, batch_size, sampler=sampler, drop_last=drop_last)
        shuffle = shuffle_seed is not None
        return DataLoader(self._dataset, batch_size, shuffle=shuffle, generator=generator, drop_last=drop_last)


def _not_at_hand() -> ConfigError:
    return ConfigError("the examples are behind a DataLoader", key="train", cure="give (x, y) arrays or tensors")


def examples_of(loader: DataLoader[Any]) -> int:
    """Examples that a DataLoader gives in an epoch, as its sampler and `drop_last` have it; 0 if there is no batch.

    At most those of its data set: what a sampler repeats is no further example.

    Raises:
        ConfigError: a sampler without a length.
    """
    batches, total = cast("Iterable[Sized] | None", loader.batch_sampler), len(cast("Sized", loader.dataset))
    if batches is not None and not isinstance(batches, BatchSampler):
        return min(total, sum(len(batch) for batch in batches))  # places only, no data
    sampler, batch_size, drop_last = cast("object", loader.sampler), loader.batch_size or 1, loader.drop_last
    if (
        batches is not None
    ):  # also where the loader itself says nothing: DataLoader(..., batch_sampler=BatchSampler(...))
        sampler, batch_size, drop_last = batches.sampler, batches.batch_size, batches.drop_last
    if isinstance(loader.dataset, IterableDataset):
        count = total  # it has no sampler
    elif isinstance(sampler, Sized):
        count = len(sampler)
    else:
        raise ConfigError("a sampler without a length", key="data", cure="give it __len__")
    return min(total, count - count % batch_size if drop_last else count)


class TrainLoader:
    """What a loop iterates over: every `iter` is one freshly shuffled epoch. Counts, reports, stops at the limit."""

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        epochs: int,
        max_steps: int,
        report: Callable[[float], None],
    ) -> None:
        """`report` gets the share done before each batch, and may raise to abandon the training."""
        self.num_examples = source.num_examples
        self.num_steps = 0
        self._source, self._batch_size, self._seed, self._report = source, batch_size, seed, report
        self._max_steps, self._epoch = max_steps, 0
        self.redraw = False
        """Epochs draw with replacement (`Turn.redraw`)."""
        planned = epochs * len(self)
        self.planned = max(1, min(planned, max_steps) if max_steps else planned)
        """Steps of the whole training, by a sampler that keeps the number of examples."""

    def __len__(self) -> int:
        return self._source.num_batches(self._batch_size)

    def alive(self, _share: float = 0.0) -> None:
        """Say how far the training is, between batches that are none of its own; may raise to abandon it."""
        self._report(min(1.0, self.num_steps / self.planned))

    def __iter__(self) -> Iterator[Pair]:
        for batch in self.epoch():
            yield batch.x, batch.y

    def epoch(self, order: Callable[[], Tensor] | None = None) -> Iterator[Batch]:
        """One epoch as whole batches; `order` gives its places instead of a shuffle of all."""
        if self.finished:
            return  # before anything is shuffled
        seed = derive(self._seed, "shuffle", self._epoch)
        self._epoch += 1
        given = None if order is None else order()
        for batch in self._source.batches(self._batch_size, seed, given, redraw=self.redraw):
            self._report(min(1.0, self.num_steps / self.planned))
            self.num_steps += 1
            yield batch
            if self.finished:
                return

    @property
    def finished(self) -> bool:
        """The limit of steps is reached: no epoch has a batch any more."""
        return bool(self._max_steps) and self.num_steps >= self._max_steps


def open_source(given: Any, device: torch.device, dtype: torch.dtype, *, arriving: bool = False) -> Source:
    """Make a Source of what the app gave.

    Args:
        given: (x, y) arrays or tensors, an object with x and y (`roughfed.data.Dataset`), a torch Dataset, a
            DataLoader, or a function that gives one of these.
        device: where batches are wanted.
        dtype: the model's float type; float inputs are cast to it.
        arriving: it is what a stream gives in one round: arrays without ids get ids by their content, since the first
            example of one round and that of the next are not the same.

    Raises:
        ConfigError: something else, or x and y differ in length, or there are no examples.
    """
    if callable(given) and not hasattr(given, "__len__"):
        given = given()
    pair = _pair(given)
    if pair is not None:
        x, y = cast_input(torch.as_tensor(pair[0]), dtype), cast_target(torch.as_tensor(pair[1]))
        if len(x) != len(y):
            raise ConfigError(f"{len(x)} inputs and {len(y)} targets", key="data")
        ids = _ids_of(given)
        source: Source = Arrays(x, y, device, ids_by_content(x, y) if arriving and ids is None else ids)
    elif isinstance(given, DataLoader) or hasattr(given, "__getitem__"):
        source = Loaded(given, device, dtype)
    else:
        raise ConfigError(f"data is {_kind(given)}", key="data", cure="give (x, y), a Dataset or a DataLoader")
    if not source.num_examples:
        if isinstance(given, DataLoader) and len(cast(Sized, given.dataset)):
            raise ConfigError(
                f"the DataLoader gives no batch of its {len(cast(Sized, given.dataset))} examples",
                key="data",
                cure="drop_last=False, a smaller batch_size, or a sampler that chooses some",
            )
        raise ConfigError("there are no examples", key="data")
    return source


def _ids_of(given: Any) -> Tensor | None:
    """The ids of a `roughfed.data.Dataset`, int64 [N]; None: its examples are numbered."""
    ids = getattr(given, "ids", None)
    return None if ids is None else torch.as_tensor(ids, dtype=torch.int64)


def ids_by_content(x: Tensor, y: Tensor) -> Tensor:
    """Ids that follow from what an example is, int64 [N], 0 or more."""
    pairs = zip(x.cpu().float().numpy(), y.cpu().numpy(), strict=True)  # numpy knows no bfloat16
    digests = (hashlib.sha256(one.tobytes() + label.tobytes()).digest() for one, label in pairs)
    return torch.tensor([int.from_bytes(digest[:8], "big") >> 1 for digest in digests], dtype=torch.int64)


def _pair(given: Any) -> tuple[Any, Any] | None:
    """The inputs and the targets, when they are at hand as arrays or tensors."""
    if isinstance(given, TensorDataset):
        given = given.tensors
    if hasattr(given, "x") and hasattr(given, "y"):
        return given.x, given.y
    if is_pair(given) and all(hasattr(part, "shape") for part in given):
        return given[0], given[1]
    return None


def cast_input(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Float inputs in the model's float type (numpy's are float64 by default); integers are tokens and stay."""
    return x.to(dtype) if x.is_floating_point() else x


def cast_target(y: Tensor) -> Tensor:
    """Class numbers as int64, measured values as float32."""
    return y.to(torch.float32) if y.is_floating_point() else y.to(torch.int64)


def _fits(size_bytes: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return size_bytes <= RESIDENT_SHARE * free


def _kind(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, tuple | list):
        kind += f"({', '.join(type(part).__name__ for part in cast(Sequence[object], value))})"
    return kind
