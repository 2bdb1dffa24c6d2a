"""What a training tells of its examples, against slow sums; and what a client thinks of its own labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from roughfed import params
from roughfed.client.trainer.examples.batches import Arrays, open_source
from roughfed.client.trainer.extractors import OF_THE_HEAD, TELLERS
from roughfed.client.trainer.extractors.losses import buckets_of
from roughfed.client.trainer.labels.label_quality import (
    FACT,
    LabelQuality,
    balance_histogram,
    compare,
    doubt_of,
    noted,
    remember,
)
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Context
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.forward_pass import can_tell, look
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.errors import ConfigError
from roughfed.secagg.fixed_point import from_fixed, symmetric
from roughfed.secagg.statistics import CLASS_LOSS_BUCKETS, KINDS, LOSS_BUCKETS, loss_bucket
from roughfed.training import Turn

C, WIDTH = 4, 6
CPU = torch.device("cpu")
LENGTHS = {
    "transition": C * C,
    "loss-histogram": LOSS_BUCKETS,
    "class-loss-histogram": C * CLASS_LOSS_BUCKETS,
    "feature-count": C,
    "feature-sum": C * WIDTH,
    "feature-outer": WIDTH * (WIDTH + 1) // 2,
    "head-gradient": C * (C * WIDTH + C),
}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, WIDTH), nn.ReLU(), nn.Dropout(0.5), nn.Linear(WIDTH, C))


def context_of(
    labels: list[int], *, net: nn.Module | None = None, facts: dict[str, list[float]] | None = None
) -> Context:
    x = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(1))
    source = Arrays(x, torch.tensor(labels), CPU)
    return Context(net or network(), source, TrainerSettings(), C, torch.Generator(), facts=facts or {})


LABELS = [0] * 300 + [1] * 150 + [2] * 7  # more than a batch; class 3 is absent


def test_every_statistic_has_its_length_and_keeps_its_bounds() -> None:
    context = context_of(LABELS)
    context.model.train()
    found = look(context, [*TELLERS, "no such thing"])
    assert {name: len(values) for name, values in found.items()} == LENGTHS
    found[FACT] = balance_histogram(found[FACT], KINDS[FACT].largest)  # as the loop tells it
    for name, values in found.items():
        assert all(isinstance(v, int) and 0 <= v <= KINDS[name].largest for v in values), name
    assert context.model.training  # as it was
    assert look(context, ()) == {}


def test_the_sums_are_those_of_the_definitions() -> None:
    context = context_of(LABELS)
    found = look(context, TELLERS)
    net, source = context.model.eval(), context.source
    batch = source.gather(torch.arange(len(LABELS)))
    with torch.no_grad():
        features = net[:3](batch.x)
        output = net[3](features)
    losses = functional.cross_entropy(output, batch.y, reduction="none").tolist()
    histogram, by_class = [0] * LOSS_BUCKETS, [0] * (C * CLASS_LOSS_BUCKETS)
    for label, loss in zip(LABELS, losses, strict=True):
        histogram[loss_bucket(loss)] += 1
        by_class[label * CLASS_LOSS_BUCKETS + loss_bucket(loss, CLASS_LOSS_BUCKETS)] += 1
    assert list(found["loss-histogram"]) == histogram
    assert list(found["class-loss-histogram"]) == by_class
    assert found["feature-count"] == (300, 150, 7, 0)
    sums = np.stack([features[batch.y == c].double().sum(dim=0).numpy() for c in range(C)])
    np.testing.assert_allclose(from_fixed("feature-sum", found["feature-sum"], 1), sums.ravel(), atol=1 / 256)
    outer = symmetric(from_fixed("feature-outer", found["feature-outer"], 1), WIDTH)
    np.testing.assert_allclose(outer, (features.double().T @ features.double()).numpy(), atol=1 / 64)


def gradients(net: nn.Sequential, context: Context, head: nn.Linear) -> Tensor:
    """[C, C d + C] by autograd."""
    batch = context.source.gather(torch.arange(context.source.num_examples))
    rows = []
    for c in range(C):
        head.zero_grad()
        if bool((batch.y == c).any()):
            features = net[:3](batch.x[batch.y == c]).detach()
            functional.cross_entropy(head(features), batch.y[batch.y == c]).backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in head.parameters()]
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    return torch.stack(rows)


@pytest.mark.parametrize("told", [False, True])
def test_the_gradients_of_a_classifier_are_those_of_autograd(told: bool) -> None:
    net, head = network(), nn.Linear(WIDTH, C)
    flat = torch.cat([head.weight.flatten(), head.bias]).tolist()
    context = context_of(LABELS, net=net, facts={"head": flat} if told else None)
    found = from_fixed("head-gradient", look(context, ["head-gradient"])["head-gradient"], 1)
    want = gradients(net.eval(), context, head if told else net[3]).flatten().numpy()
    np.testing.assert_allclose(found, want, atol=1 / 4096)


def test_a_gradient_beyond_the_bound_keeps_its_direction() -> None:
    net = network()
    with torch.no_grad():
        net[0].weight.mul_(100)
    context = context_of(LABELS, net=net)
    found = from_fixed("head-gradient", look(context, ["head-gradient"])["head-gradient"], 1).reshape(C, -1)
    want = gradients(net.eval(), context, net[3]).numpy()
    assert np.abs(want).max() > 1 >= np.abs(found).max()
    for row, whole in zip(found[:3], want[:3], strict=True):
        assert row @ whole / np.linalg.norm(row) / np.linalg.norm(whole) > 0.999


@given(st.lists(st.floats(0, 1e8) | st.just(float("inf")), min_size=1, max_size=30), st.sampled_from([32, 16]))
@settings(max_examples=50, deadline=None)
def test_buckets_are_those_that_the_server_reads(losses: list[float], buckets: int) -> None:
    single = torch.tensor(losses, dtype=torch.float32)
    want = [loss_bucket(loss, buckets) for loss in single.tolist()]
    assert all(abs(a - b) <= 1 for a, b in zip(buckets_of(single, buckets).tolist(), want, strict=True))
    middle = [(2.0 ** (k / (1 if buckets == 16 else 2) - 11)) * 1.1 for k in range(-2, buckets)]
    assert buckets_of(torch.tensor(middle), buckets).tolist() == [loss_bucket(v, buckets) for v in middle]


def test_transitions_show_which_label_is_given_for_which_class() -> None:
    class Sure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(4.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x

    true = torch.arange(400) % C
    x = functional.one_hot(true, C).float()
    given_ = true.clone()
    given_[(true == 2) & (torch.arange(400) % 8 == 2)] = 0  # half of class 2 is called 0
    context = Context(Sure(), Arrays(x, given_, CPU), TrainerSettings(), C, torch.Generator())
    table = np.array(look(context, ["transition"])["transition"]).reshape(C, C)
    assert table.tolist() == [[100, 0, 50, 0], [0, 100, 0, 0], [0, 0, 50, 0], [0, 0, 0, 100]]
    assert set(can_tell(context.model, context.source, C)) == set(TELLERS) - OF_THE_HEAD


def test_what_cannot_be_told_is_not_promised() -> None:
    source = open_source((np.zeros((4, 5), np.float32), np.zeros((4, 1), np.float32)), CPU, torch.float32)
    assert can_tell(network(), source, 0) == ()
    assert set(can_tell(network(), Arrays(torch.randn(3, 5), torch.tensor([0, 1, 2]), CPU), C)) == set(TELLERS)
    with pytest.raises(ConfigError, match="labels"):
        look(context_of([0, 9]), ["loss-histogram"])


def test_a_model_that_diverged_breaks_nothing() -> None:
    net = network()
    with torch.no_grad():
        net[0].weight.fill_(float("nan"))
    assert set(look(context_of(LABELS, net=net), TELLERS)) == set(TELLERS)


def run(folder: Path, turn: Turn, *, remembered: dict[str, dict[str, Tensor]] | None = None, **chosen: object):
    net = network()
    path = folder / "model.safetensors"
    params.write_model(path, spec_of(net), pieces(net))
    work = Work(
        path,
        folder / "delta",
        TrainerSettings.parse(chosen),
        1,
        turn,
        C,
        remembered={} if remembered is None else remembered,
    )
    return fit(net, context_of(LABELS).source, work, report=lambda _: None), (folder / "delta").read_bytes()


def test_telling_changes_nothing_of_the_training(tmp_path: Path) -> None:
    silent, same = run(tmp_path, Turn(1, 4))
    told, again = run(tmp_path, Turn(1, 4, wanted=tuple(f"{name}:{n}" for name, n in LENGTHS.items())))
    assert again == same
    assert not silent.statistics
    assert {name: len(values) for name, values in told.statistics.items()} == LENGTHS


# -- doubt -------------------------------------------------------------------------------------------------------------


def histograms(shares: list[float], rng: np.random.Generator, size: int = 300) -> list[Tensor]:
    """Clients whose labels are wrong in a share of cases: then their losses are high."""
    tables = []
    for share in shares:
        labels = rng.integers(0, C, size)
        wrong = rng.random(size) < share
        losses = np.where(wrong, rng.gamma(9, 0.4, size), rng.gamma(1, 0.4, size))
        place = labels * CLASS_LOSS_BUCKETS + buckets_of(torch.tensor(losses), CLASS_LOSS_BUCKETS).numpy()
        tables.append(torch.tensor(np.bincount(place, minlength=C * CLASS_LOSS_BUCKETS)).reshape(C, -1))
    return tables


def test_noisy_clients_find_themselves_and_clean_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    shares = [0.0] * 5 + [0.6] * 5
    for _ in range(5):
        tables = histograms(shares, rng)
        cohort = torch.stack(tables).sum(dim=0)
        doubts = [compare(table, cohort) for table in tables]
        assert max(d.deviations for d in doubts[:5]) < 0 < min(d.deviations for d in doubts[5:])  # AUC 1
        assert [d.weight for d in doubts] == [1.0] * 5 + [0.25] * 5


def test_a_liar_hardly_moves_the_others() -> None:
    rng = np.random.default_rng(2)
    most = KINDS["class-loss-histogram"].largest
    tables = histograms([0.0] * 9, rng, size=2000)
    told = [torch.tensor(balance_histogram(table.flatten().tolist(), most)).reshape(C, -1) for table in tables]
    lie = torch.zeros(C, CLASS_LOSS_BUCKETS, dtype=torch.int64)
    lie[:, 0] = most  # all that the lanes can carry, where losses are lowest
    cohort = torch.stack([*told, lie]).sum(dim=0)
    assert [compare(table, cohort).weight for table in tables] == [1.0] * 9
    drowned = torch.stack([*told, 100 * lie]).sum(dim=0)  # what it could do if a client's voice had no bound
    assert min(compare(table, drowned).weight for table in tables) == 0.25


def test_a_voice_keeps_the_shape_of_each_class() -> None:
    table = [0] * (C * CLASS_LOSS_BUCKETS)
    table[:3], table[CLASS_LOSS_BUCKETS] = [1280, 640, 20], 3
    scaled = balance_histogram(table, 64)
    assert scaled[:3] == (64, 32, 1)
    assert scaled[CLASS_LOSS_BUCKETS] == 3
    assert max(scaled) == 64


def test_without_noise_hardly_anybody_weighs_itself_down() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(10):
        tables = histograms([0.1] * 10, rng, size=100)
        cohort = torch.stack(tables).sum(dim=0)
        found += [compare(table, cohort).noisy for table in tables]
    assert sum(found) <= 2


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_doubt_is_relative_bounded_and_blind_to_what_is_not_told(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = torch.tensor(rng.integers(0, 9, (C, CLASS_LOSS_BUCKETS)))
    cohort = own + torch.tensor(rng.integers(0, 40, own.shape))
    doubt = compare(own, cohort)
    assert 0 <= doubt.excess <= 0.5
    assert compare(own, own).excess == pytest.approx(0, abs=1e-7)
    assert compare(own, 3 * cohort).excess == pytest.approx(doubt.excess)
    cohort[0] = 0
    other = own.clone()
    other[0] = 7
    assert compare(own, cohort) == compare(other, cohort)
    assert compare(own, torch.zeros_like(cohort)) == LabelQuality()


def test_a_client_compares_what_it_told_of_the_model_that_the_sum_is_of() -> None:
    context = context_of(LABELS)
    told = look(context, [FACT])[FACT]
    assert doubt_of(context) == LabelQuality()
    remember(context, told)
    clean = torch.zeros(C, CLASS_LOSS_BUCKETS)
    clean[:, 2] = 1000.0
    later = context_of(LABELS, facts={FACT: (torch.tensor(told).reshape(C, -1) + clean).flatten().tolist()})
    later.remembered = context.remembered
    doubt = doubt_of(later)
    assert doubt.weight == 0.25
    assert noted(later.remembered) == doubt


def test_only_where_it_is_allowed_a_client_weighs_itself_down(tmp_path: Path) -> None:
    turn = Turn(1, 4, wanted=(f"{FACT}:{LENGTHS[FACT]}",))
    state: dict[str, dict[str, Tensor]] = {}
    first, _ = run(tmp_path, turn, remembered=state, self_weight=True)
    assert first.weight == 1.0
    cohort = torch.zeros(C, CLASS_LOSS_BUCKETS)
    cohort[:, 1] = 5000.0
    turn = Turn(2, 4, facts={FACT: (cohort.flatten() + torch.tensor(first.statistics[FACT])).tolist()})
    assert run(tmp_path, turn, remembered=state, self_weight=True)[0].weight == 0.25
    assert run(tmp_path, turn, remembered=state)[0].weight == 1.0
    plain, distilled = (run(tmp_path, turn, remembered=state, method=m)[1] for m in ("plain", "global-distillation"))
    assert plain != distilled  # and a client that doubts itself listens to the global model
    certain = run(tmp_path, turn, method="global-distillation")[1]
    assert certain == plain
