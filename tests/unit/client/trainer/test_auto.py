"""A client that chooses its parts by itself: from its own data, once, and without a word to anybody."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from roughfed import params
from roughfed.client.trainer.examples.batches import Arrays, Source, open_source
from roughfed.client.trainer.examples.probe_sample import MOST, Sample, sample_of, stands
from roughfed.client.trainer.labels.folds import out_of_fold
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Context, Tensors
from roughfed.client.trainer.probe import PROBES
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.choose import LABELS, STREAMS, composition_for
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.methods import AUTO, read_method
from roughfed.training import Turn

CPU = torch.device("cpu")
C = 4
EVEN = [0, 1, 2, 3] * 50
TAIL = [0] * 120 + [1] * 50 + [2] * 22 + [3] * 8


def data_of(labels: list[int], *, wrong: float = 0.0, seed: int = 1) -> Arrays:
    """Classes that a linear model tells apart; a share of the labels is wrong, evenly."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.tensor(labels)
    x = torch.randn(len(y), 8, generator=generator)
    x[torch.arange(len(y)), y] += 6.0
    flipped = torch.rand(len(y), generator=generator) < wrong
    y[flipped] = (y[flipped] + torch.randint(1, C, (int(flipped.sum()),), generator=generator)) % C
    return Arrays(x, y, CPU)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, C))


def context_of(
    source: Source, *, remembered: dict[str, Tensors] | None = None, task: int = -1, number: int = 1
) -> Context:
    settings = TrainerSettings(method=AUTO)
    state = {} if remembered is None else remembered
    return Context(net(), source, settings, C, torch.Generator(), round=number, task=task, remembered=state)


def choice(context: Context, *, allow_memory: bool = True) -> str:
    return str(composition_for(context, allow_memory=allow_memory))


def families(line: str) -> set[str]:
    return {part.row.family for part in read_method(line).parts}


@pytest.mark.parametrize(
    ("labels", "wrong", "task", "wanted"),
    [
        (EVEN, 0.0, -1, set()),
        (TAIL, 0.0, -1, {"long-tail"}),
        (EVEN, 0.5, -1, {"noisy"}),
        (EVEN, 0.0, 0, {"continual"}),
        (TAIL, 0.0, 0, {"long-tail", "continual"}),
        (EVEN, 0.5, 2, {"noisy", "continual"}),
        ([0] * 150 + [1] * 40 + [2] * 10 + [3] * 4, 0.3, -1, {"long-tail", "noisy"}),
        ([0, 1, 2, 3] * 2, 0.0, -1, set()),
        ([2] * 40, 0.0, -1, set()),
    ],
)
def test_what_is_chosen_is_of_the_kind_that_fits(labels: list[int], wrong: float, task: int, wanted: set[str]) -> None:
    assert families(choice(context_of(data_of(labels, wrong=wrong), task=task))) == wanted


def letters(*, easy: bool, wrong: float = 0.0) -> Context:
    """26 classes, each of four clouds in 16 features: too many for 120 steps, unless their middles lie far apart."""
    generator = torch.Generator().manual_seed(4)
    middles = torch.randn(26 * (1 if easy else 4), 16, generator=generator) * (6.0 if easy else 1.5)
    cloud = torch.randint(len(middles), (2000,), generator=generator)
    x = middles[cloud] + torch.randn(2000, 16, generator=generator)
    y = cloud % 26
    flipped = torch.rand(2000, generator=generator) < wrong
    y[flipped] = (y[flipped] + torch.randint(1, 26, (int(flipped.sum()),), generator=generator)) % 26
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 26))
    return Context(model, Arrays(x, y, CPU), TrainerSettings(method=AUTO), 26, torch.Generator(), round=1)


def test_a_task_that_the_look_has_not_learnt_is_not_taken_for_wrong_labels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert choice(letters(easy=False)) == "plain"
    assert "has not learnt the task yet" in caplog.text
    assert choice(letters(easy=True)) == "plain"
    assert families(choice(letters(easy=True, wrong=0.5))) == {"noisy"}


def test_every_choice_there_is_can_be_read_and_the_last_needs_nothing_rare() -> None:
    for candidates in LABELS.values():
        for line in candidates:
            for stream in STREAMS[True]:
                read_method("+".join(filter(None, (line, stream))) or "plain")
    assert all("" in lines or read_method(lines[-1]).needs <= {"classes", "counts"} for lines in LABELS.values())
    assert "" in STREAMS[True]


def test_a_choice_stays_as_long_as_the_data_and_moves_no_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, Tensors] = {}
    context = context_of(data_of(TAIL), remembered=state)
    torch.manual_seed(5)
    first = choice(context)
    draw = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), draw)
    monkeypatch.setattr("roughfed.client.trainer.training.choose.PROBES", {})  # a look would find nothing to look with
    assert choice(context_of(data_of(TAIL), remembered=state, number=2)) == first


def test_other_data_are_looked_at_again_and_what_was_found_stays_for_a_while() -> None:
    state: dict[str, Tensors] = {}
    assert families(choice(context_of(data_of([0] * 50 + [1] * 50), remembered=state, task=0))) == {"continual"}
    # The second task's classes are rarer than the first's: a tail, though neither task has one.
    assert "long-tail" in families(choice(context_of(data_of([2] * 8 + [3] * 8), remembered=state, task=1)))

    drifting: dict[str, Tensors] = {}
    assert choice(context_of(data_of([0, 1] * 60), remembered=drifting)) == "plain"
    for labels in ([2, 3] * 60, EVEN):
        assert families(choice(context_of(data_of(labels), remembered=drifting))) == {"continual"}


def test_it_comes_and_goes_at_different_thresholds() -> None:
    kept: Tensors = {}
    assert [stands(value, 1.0, kept) for value in (0.9, 1.0, 0.6, 0.4, 0.6)] == [False, True, True, False, False]


def test_without_leave_to_keep_examples_it_takes_what_keeps_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert choice(context_of(data_of(EVEN), task=0), allow_memory=False) == "lwf"
    assert "der++ would fit better, but needs a rehearsal memory" in caplog.text
    assert "the examples come in tasks, this is number 1" in caplog.text


def test_a_policy_that_changes_is_followed_at_once() -> None:
    state: dict[str, Tensors] = {}
    assert "der++" in choice(context_of(data_of(EVEN), remembered=state, task=0))
    assert choice(context_of(data_of(EVEN), remembered=state, task=0), allow_memory=False) == "plain"


def test_behind_a_loader_it_takes_what_needs_no_labels_at_hand() -> None:
    arrays = data_of(EVEN, wrong=0.5)
    batch = arrays.gather(torch.arange(len(EVEN)))
    loader = open_source(DataLoader(TensorDataset(batch.x, batch.y), 32), CPU, torch.float32)
    assert families(choice(context_of(loader))) == {"noisy"}
    tail = data_of(TAIL).gather(torch.arange(len(TAIL)))
    loader = open_source(DataLoader(TensorDataset(tail.x, tail.y), 32), CPU, torch.float32)
    assert choice(context_of(loader)) == "plain"


def test_a_regression_has_nothing_to_choose_from() -> None:
    source = open_source((torch.randn(9, 3), torch.randn(9)), CPU, torch.float32)
    context = Context(nn.Linear(3, 1), source, TrainerSettings(method=AUTO), 0, torch.Generator())
    assert choice(context) == "plain"


def test_a_look_goes_by_so_many_examples_at_most_and_by_the_same_ones() -> None:
    many = data_of(EVEN * 12)
    first, again = sample_of(context_of(many)), sample_of(context_of(many))
    assert len(first.y) == MOST < many.num_examples
    assert torch.equal(first.x, again.x)


def test_predictions_are_of_copies_that_did_not_see_the_example() -> None:
    """Labels without any reason in the inputs are predicted no better than by guessing."""
    model, generator = net(), torch.Generator().manual_seed(3)
    x, y = torch.randn(400, 8, generator=generator), torch.randint(C, (400,), generator=generator)
    before = [p.clone() for p in model.parameters()]
    found = out_of_fold(model, x, y, C)
    assert torch.equal(found, out_of_fold(model, x, y, C))
    assert torch.allclose(found.sum(dim=2), torch.ones(2, 400))
    assert not torch.equal(found[0], found[1])
    assert float((found.argmax(dim=2) == y).float().mean()) < 0.35
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_takes_odd_data(probe: str) -> None:
    for labels in ([1], [0, 1], [2] * 70, [0] * 69 + [3]):
        kept: Tensors = {}
        source = data_of(labels)
        batch = source.gather(torch.arange(len(labels)))
        finding = PROBES[probe](Sample(batch.x, batch.y, net(), C), kept)
        assert finding.why
        assert not finding.found or probe == "long-tail"


def test_nothing_of_the_choice_is_reported(tmp_path: Path) -> None:
    model = net()
    params.write_model(tmp_path / "model", spec_of(model), pieces(model))
    settings = TrainerSettings(method=AUTO, epochs=1)
    reports = []
    for source, task in ((data_of(EVEN), -1), (data_of(TAIL, wrong=0.5), 0)):
        work = Work(tmp_path / "model", tmp_path / "delta", settings, 1, Turn(1, 2), C, task=task)
        result = fit(model, source, work, report=lambda _: None)
        assert work.remembered[AUTO]["line"].numel()
        reports.append((result.metrics, result.statistics, result.weight, result.num_steps))
    assert reports == [({}, {}, 1.0, 7), ({}, {}, 1.0, 7)]
