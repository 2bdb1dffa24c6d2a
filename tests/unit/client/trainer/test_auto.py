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


def net(*, learnt: bool = True) -> nn.Module:
    """One that tells the classes of `data_of`, as a global model does in the middle of a run, or a fresh one."""
    torch.manual_seed(0)
    first, last = nn.Linear(8, 16), nn.Linear(16, C)
    if learnt:
        with torch.no_grad():
            first.weight.zero_()[:C, :C] = torch.eye(C)
            last.weight.zero_()[:, :C] = torch.eye(C)
    return nn.Sequential(first, nn.ReLU(), last)


def context_of(
    source: Source,
    *,
    remembered: dict[str, Tensors] | None = None,
    task: int = -1,
    number: int = 1,
    rounds: int = 10,
    learnt: bool = True,
) -> Context:
    state = {} if remembered is None else remembered
    return Context(
        net(learnt=learnt),
        source,
        TrainerSettings(method=AUTO),
        C,
        torch.Generator(),
        round=number,
        rounds=rounds,
        task=task,
        remembered=state,
    )


def in_the_middle(source: Source, *, task: int = -1) -> str:
    """The choice in a round in which labels are judged: the second look at the same data, halfway."""
    state: dict[str, Tensors] = {}
    return [choice(context_of(source, remembered=state, task=task, number=number)) for number in (5, 6)][1]


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
        ([0] * 150 + [1] * 40 + [2] * 10 + [3] * 4, 0.4, -1, {"long-tail"}),  # a tail comes first
        ([0, 1, 2, 3] * 2, 0.0, -1, set()),
        ([2] * 40, 0.0, -1, set()),
    ],
)
def test_what_is_chosen_is_of_the_kind_that_fits(labels: list[int], wrong: float, task: int, wanted: set[str]) -> None:
    assert families(in_the_middle(data_of(labels, wrong=wrong), task=task)) == wanted


def test_labels_are_not_judged_by_a_model_that_still_learns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    state: dict[str, Tensors] = {}
    data = data_of(EVEN, wrong=0.5)
    looks = [(5, False), (6, True), (7, True)]
    found = [choice(context_of(data, remembered=state, number=at, learnt=learnt)) for at, learnt in looks]
    assert found == ["plain", "plain", "gce"]


def test_what_a_model_that_errs_found_is_taken_back_by_one_that_has_learnt() -> None:
    """A model below half right that stands still contradicts right labels as well as wrong ones."""
    state: dict[str, Tensors] = {}
    found = [choice(context_of(data_of(EVEN), remembered=state, number=at, learnt=at > 8)) for at in range(1, 11)]
    assert families(found[5]) == families(found[7]) == {"noisy"}
    assert found[-1] == "plain"


def test_labels_are_judged_in_the_middle_of_a_run_and_no_earlier(caplog: pytest.LogCaptureFixture) -> None:
    """What wrong labels cost comes late, what parts against them cost comes early."""
    caplog.set_level(logging.INFO)
    state: dict[str, Tensors] = {}
    data = data_of(EVEN, wrong=0.5)
    chosen = [choice(context_of(data, remembered=state, number=number)) for number in range(1, 11)]
    assert chosen == ["plain"] * 5 + ["gce"] * 5
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["round 1", "round 6"]


def test_labels_are_judged_again_where_a_run_was_made_longer() -> None:
    state: dict[str, Tensors] = {}
    data = data_of(EVEN, wrong=0.5)
    assert choice(context_of(data, remembered=state, number=10, rounds=10)) == "plain"  # the first look
    found = [choice(context_of(data, remembered=state, number=at, rounds=100)) for at in range(11, 61)]
    assert found[-1] == "gce"


def test_a_choice_of_an_earlier_version_is_made_anew() -> None:
    state: dict[str, Tensors] = {}
    data = data_of(EVEN)
    choice(context_of(data, remembered=state, number=1))
    del state[AUTO]["looks"]
    state[f"{AUTO}-noisy"]["found"] = torch.tensor(True)
    state[AUTO]["line"] = torch.tensor(list(b"gce"), dtype=torch.uint8)
    assert choice(context_of(data, remembered=state, number=2)) == "plain"


def test_every_choice_there_is_can_be_read_and_the_last_needs_nothing_rare() -> None:
    for candidates in LABELS.values():
        for line in candidates:
            for stream in STREAMS[True]:
                read_method("+".join(filter(None, (line, stream))) or "plain")
    assert all("" in lines or read_method(lines[-1]).needs <= {"classes", "counts"} for lines in LABELS.values())
    assert "" in STREAMS[True]


def test_a_choice_stays_as_long_as_the_data_and_moves_no_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, Tensors] = {}
    context = context_of(data_of(TAIL), remembered=state, rounds=100)
    torch.manual_seed(5)
    first = choice(context)
    draw = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), draw)
    monkeypatch.setattr("roughfed.client.trainer.training.choose.PROBES", {})  # a look would find nothing to look with
    assert choice(context_of(data_of(TAIL), remembered=state, number=2, rounds=100)) == first


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
    assert families(in_the_middle(loader)) == {"noisy"}
    tail = data_of(TAIL).gather(torch.arange(len(TAIL)))
    loader = open_source(DataLoader(TensorDataset(tail.x, tail.y), 32), CPU, torch.float32)
    assert in_the_middle(loader) == "plain"


def test_a_regression_has_nothing_to_choose_from() -> None:
    source = open_source((torch.randn(9, 3), torch.randn(9)), CPU, torch.float32)
    context = Context(nn.Linear(3, 1), source, TrainerSettings(method=AUTO), 0, torch.Generator())
    assert choice(context) == "plain"


def test_a_look_goes_by_so_many_examples_at_most_and_by_the_same_ones() -> None:
    many = data_of(EVEN * 12)
    first, again = sample_of(context_of(many)), sample_of(context_of(many))
    assert len(first.y) == MOST < many.num_examples
    assert torch.equal(first.x, again.x)


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
