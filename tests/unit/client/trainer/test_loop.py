"""client/trainer: data, loop and evaluation in this process (the process: tests/unit/shared/test_trainer_client.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
)

from roughfed import params
from roughfed.client.api import Round
from roughfed.client.trainer import device
from roughfed.client.trainer.evaluation.evaluate import evaluate
from roughfed.client.trainer.examples.arriving import ArrivingExamples
from roughfed.client.trainer.examples.batches import Source, TrainLoader, open_source
from roughfed.client.trainer.link import Abandoned
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Batch
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.loop import Work, fit, no_op_update
from roughfed.errors import ConfigError
from roughfed.training import Turn

CPU = torch.device("cpu")


def quiet(_: float) -> None:
    return None


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """A user's own map-style data set, with float64 inputs."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.rows = list(zip(x.double(), y, strict=True))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)


class Stream(IterableDataset[int]):
    def __iter__(self):
        return iter(range(3))


X = torch.arange(66, dtype=torch.float32).reshape(33, 2)
Y = torch.arange(33) % 3
FORMS: dict[str, Callable[[], object]] = {
    "tensors": lambda: (X, Y),
    "numpy float64": lambda: (X.double().numpy(), Y.numpy()),
    "function": lambda: lambda: (X, Y),
    "TensorDataset": lambda: TensorDataset(X, Y),
    "Dataset": lambda: Rows(X, Y),
    "DataLoader": lambda: DataLoader(Rows(X, Y), batch_size=8, shuffle=True),
    "DataLoader with generator": lambda: DataLoader(
        Rows(X, Y), batch_size=8, shuffle=True, generator=torch.Generator()
    ),
}


def source(form: str = "tensors") -> Source:
    return open_source(FORMS[form](), CPU, torch.float32)


def seen(batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    return [float(value) for x, _ in batches for value in x[:, 0]]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same_examples(form: str) -> None:
    opened = source(form)
    assert opened.num_examples == 33
    batches = list(opened.epoch(8, None))
    assert sorted(seen(batches)) == X[:, 0].tolist()
    for x, y in batches:
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert torch.equal(x[:, 0] / 2 % 3, y.float())


@pytest.mark.parametrize("form", ["tensors", "Dataset", "DataLoader with generator"])
def test_shuffles_are_seeded(form: str) -> None:
    opened = source(form)
    first, again, other = (seen(list(opened.epoch(8, seed))) for seed in (1, 1, 2))
    assert first == again != other
    assert first != sorted(first)


@pytest.mark.parametrize("form", ["tensors", "Dataset"])
def test_a_shuffled_epoch_leaves_out_a_lonely_last_example(form: str) -> None:
    opened = source(form)  # 33 = 4 x 8 + 1
    batches = list(opened.epoch(8, 5))
    assert [len(y) for _, y in batches] == [8, 8, 8, 8]
    assert len(batches) == opened.num_batches(8)
    assert [len(y) for _, y in opened.epoch(8, None)] == [8, 8, 8, 8, 1]
    assert opened.num_batches(1) == 33
    assert opened.num_batches(10) == 4


@pytest.mark.parametrize(
    ("given", "say"),
    [
        ((X, Y[:5]), "33 inputs and 5 targets"),
        ((X[:0], Y[:0]), "no examples"),
        (lambda: 7, "data is int"),
        (DataLoader(Stream()), "without a length"),
    ],
)
def test_data_that_cannot_be_used(given: object, say: str) -> None:
    with pytest.raises(ConfigError, match=say):
        open_source(given, CPU, torch.float32)


class Endless(Sampler[int]):
    """A sampler that does not know how long it is."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(33))


class Pairs(Sampler[list[int]]):
    """A batch sampler of the user's own: 3 batches of 2."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[0, 1], [2, 3], [4, 5]])

    def __len__(self) -> int:
        return 3


class Measured(Stream):
    def __len__(self) -> int:
        return 3


LOADERS: dict[str, tuple[Callable[[], DataLoader[Any]], int]] = {
    "a subset": (lambda: DataLoader(Rows(X, Y), 4, sampler=SubsetRandomSampler(range(10))), 10),
    "whole batches only": (lambda: DataLoader(Rows(X, Y), 8, drop_last=True), 32),
    "both": (lambda: DataLoader(Rows(X, Y), 4, sampler=SubsetRandomSampler(range(10)), drop_last=True), 8),
    "with repetitions": (lambda: DataLoader(Rows(X, Y), 4, sampler=RandomSampler(Y, True, num_samples=500)), 33),
    "fewer than there are": (lambda: DataLoader(Rows(X, Y), 4, sampler=RandomSampler(Y, True, num_samples=5)), 5),
    "a batch sampler": (
        lambda: DataLoader(Rows(X, Y), batch_sampler=BatchSampler(SubsetRandomSampler(range(10)), 4, True)), 8),
    "an own batch sampler": (lambda: DataLoader(Rows(X, Y), batch_sampler=Pairs()), 6),
    "no batches": (lambda: DataLoader(Rows(X, Y), batch_size=None), 33),
    "a stream that knows its length": (lambda: DataLoader(Measured(), 2), 3),
}  # fmt: skip


@pytest.mark.parametrize(("make", "count"), LOADERS.values(), ids=LOADERS)
def test_a_dataloader_claims_what_it_gives(make: Callable[[], DataLoader[Any]], count: int) -> None:
    opened = open_source(make(), CPU, torch.float32)
    assert opened.num_examples == count
    loader = TrainLoader(opened, batch_size=99, seed=1, epochs=1, max_steps=0, report=quiet)
    assert loader.num_examples == count


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Rows(X, Y), 64, drop_last=True),
        DataLoader(Rows(X, Y), 8, sampler=SubsetRandomSampler([])),
        DataLoader(Rows(X, Y), 16, sampler=SubsetRandomSampler(range(10)), drop_last=True),
    ],
    ids=["one batch is too much", "nothing chosen", "too few chosen"],
)
def test_a_dataloader_without_a_batch_is_refused(loader: DataLoader[Any]) -> None:
    with pytest.raises(ConfigError, match="no batch of its 33 examples") as refused:
        open_source(loader, CPU, torch.float32)
    assert "drop_last" in refused.value.cure


def test_a_sampler_must_know_its_length() -> None:
    with pytest.raises(ConfigError, match="sampler without a length"):
        open_source(DataLoader(Rows(X, Y), 4, sampler=Endless()), CPU, torch.float32)


def test_a_batch_that_is_no_pair_is_refused() -> None:
    opened = open_source(DataLoader(TensorDataset(X), batch_size=4), CPU, torch.float32)
    with pytest.raises(ConfigError, match=r"want \(x, y\)"):
        next(opened.epoch(4, None))


def test_the_loader_stops_at_max_steps_and_reports() -> None:
    shares: list[float] = []
    loader = TrainLoader(source(), batch_size=8, seed=1, epochs=2, max_steps=5, report=shares.append)
    epochs = [seen(list(loader)) for _ in range(3)]
    assert loader.num_steps == 5
    assert [len(e) for e in epochs] == [32, 8, 0]
    assert epochs[0][:8] != epochs[1]  # shuffled afresh
    assert shares == [0.0, 0.2, 0.4, 0.6, 0.8]


@pytest.mark.parametrize("form", ["tensors", "Dataset"])
def test_an_epoch_of_a_model_that_stands_still_draws_with_replacement(form: str) -> None:
    opened = open_source(FORMS[form](), CPU, torch.float32)

    def epoch(*, redraw: bool) -> list[int]:
        loader = TrainLoader(opened, batch_size=8, seed=1, epochs=1, max_steps=0, report=quiet)
        loader.redraw = redraw
        return [int(row[0]) for x, _ in loader for row in x]

    once, drawn = epoch(redraw=False), epoch(redraw=True)
    assert len(set(once)) == len(once) == len(drawn)
    assert len(set(drawn)) < 0.8 * len(drawn)
    assert drawn == epoch(redraw=True)
    loader = TrainLoader(source(), batch_size=8, seed=1, epochs=1, max_steps=0, report=quiet)
    loader.redraw = True
    sampled = [int(at) for batch in loader.epoch(lambda: torch.arange(20)) for at in batch.ids]
    assert set(sampled) < set(range(20))  # a sampler's order, too
    assert Turn.of(Turn(1, redraw=True).plain()).redraw


def test_after_max_steps_no_epoch_is_shuffled_any_more() -> None:
    class Counted:
        num_examples, targets, epochs = 16, None, 0

        def num_batches(self, batch_size: int) -> int:
            return 2

        def batches(
            self, batch_size: int, shuffle_seed: int | None, order: Tensor | None, *, redraw: bool
        ) -> Iterator[Batch]:
            self.epochs += 1
            where = torch.arange(8)
            yield from [Batch(X[:8], torch.zeros(8, dtype=torch.int64), where, where)] * 2

    counted = Counted()
    loader = TrainLoader(counted, batch_size=8, seed=1, epochs=1000, max_steps=3, report=lambda _: None)
    assert sum(len(list(loader)) for _ in range(1000)) == 3
    assert loader.finished
    assert counted.epochs == 2


def blobs(seed: int = 0, n: int = 90) -> tuple[Tensor, Tensor]:
    """Three separable clouds."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return torch.randn(n, 2, generator=generator) * 0.3 + torch.stack([y, -(y**2)], dim=1).float(), y


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def work(folder: Path, model: nn.Module, *, seed: int = 3, **settings: object) -> Work:
    path = folder / "global.safetensors"
    params.write_model(path, spec_of(model), pieces(model))
    return Work(path, folder / "delta", TrainerSettings.parse(settings), seed, Turn(1), 3)


def test_training_learns_and_repeats_to_the_byte(tmp_path: Path) -> None:
    model, data = net(), open_source(blobs(), CPU, torch.float32)
    job = work(tmp_path, model, epochs=8, batch_size=16, lr=0.05)
    results = [fit(model, data, job, report=quiet) for _ in range(2)]
    first = job.delta.read_bytes()
    assert results[0].metrics == results[1].metrics
    assert (results[0].num_examples, results[0].num_steps) == (90, 48)
    fit(net(), data, job, report=quiet)  # another process would build the model afresh
    assert job.delta.read_bytes() == first
    fit(model, data, Work(job.params, job.delta, job.settings, 4, Turn(1), 3), report=quiet)
    assert job.delta.read_bytes() != first

    trained = params.read_flat(job.params) + np.frombuffer(first, dtype="<f4")
    params.write_model(tmp_path / "local.safetensors", spec_of(model), [trained])
    from roughfed.client.trainer.model.tensors import load_flat, map_flat

    load_flat(model, spec_of(model), map_flat(tmp_path / "local.safetensors", spec_of(model)))
    sums = evaluate(model, open_source(blobs(1, 300), CPU, torch.float32), "classification", report=quiet)
    assert sums.class_count == (100, 100, 100)
    assert sum(sums.class_correct) > 285


def test_an_own_loop_gets_round_and_loader_and_its_metrics_are_checked(tmp_path: Path) -> None:
    model, data = net(), source()
    job = work(tmp_path, model, epochs=2, batch_size=16, lr=0.125)
    rounds: list[Round] = []

    def own(net: nn.Module, loader: TrainLoader, round: Round) -> dict[str, float]:
        rounds.append(round)
        for _ in range(round.epochs):
            for x, y in loader:
                nn.functional.cross_entropy(net(x), y).backward()
        return {"gradient": torch.ones(()) * 2}  # type: ignore[dict-item]

    result = fit(model, data, job, own=own, report=quiet)
    assert result.metrics == {"gradient": 2.0}
    assert result.num_steps == 4
    assert (rounds[0].number, rounds[0].lr, rounds[0].device, rounds[0].seed) == (1, 0.125, "cpu", 3)

    def broken(net: nn.Module, loader: TrainLoader, round: Round) -> dict[str, float]:
        return {"loss": float("nan") * len(list(loader))}

    with pytest.raises(ConfigError, match="loss = nan"):
        fit(model, data, job, own=broken, report=quiet)


def test_a_loop_that_takes_no_batch_has_trained_on_nothing(tmp_path: Path) -> None:
    model = net()
    job = work(tmp_path, model)
    with pytest.raises(ConfigError, match="not one batch"):
        fit(model, source(), job, own=lambda *_: {"loss": 1.0}, report=quiet)
    assert not job.delta.exists()


def test_a_report_that_raises_abandons_and_the_next_training_is_untouched(tmp_path: Path) -> None:
    model, data = net(), source()
    job = work(tmp_path, model, batch_size=8)
    fit(model, data, job, report=quiet)
    want = job.delta.read_bytes()

    def abandon(share: float) -> None:
        if share > 0.5:
            raise Abandoned

    with pytest.raises(Abandoned):
        fit(model, data, job, report=abandon)
    fit(model, data, job, report=quiet)
    assert job.delta.read_bytes() == want


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.choose("auto") == device.choose("cpu") == CPU
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(ConfigError, match=f"no device '{name}'"):
            device.choose(name)
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        device.choose("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="there are 2 CUDA devices"):
        device.choose("cuda:2")


def test_a_client_with_nothing_to_train_on_leaves_the_parameters(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    job = work(tmp_path, model)
    result = no_op_update(model, job)
    assert (result.num_examples, result.num_steps) == (1, 0)
    assert not np.fromfile(job.delta, dtype="<f4").any()
    assert result.weight == 1.0
    found = {"self-doubt": {"found": torch.tensor([0.2, 9.0, 1.0], dtype=torch.float64)}}
    doubting = replace(job, settings=replace(job.settings, self_weight=True), remembered=found)
    assert no_op_update(model, doubting).weight == 0.25  # an idle round makes no label right


def test_a_stream_gives_what_is_there_in_a_round() -> None:
    class Stream:
        def at(self, round: int) -> tuple[Tensor, Tensor]:
            return X[: 10 * (round - 1)], Y[: 10 * (round - 1)]

        def task(self, round: int) -> int:
            return round // 2

    arriving = ArrivingExamples(Stream(), CPU, torch.float32)
    assert (arriving.at(1).source, arriving.at(1).task) == (None, 0)
    later = arriving.at(3)
    assert later.source is not None
    assert (later.source.num_examples, later.task) == (20, 1)
