"""Parts that make a model of a client's own, each against a slow reference, and what is kept of them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed import params
from roughfed.adapters import adapted_spec, split
from roughfed.client.trainer.examples.batches import Arrays, TrainLoader
from roughfed.client.trainer.model.adapters import stand_on
from roughfed.client.trainer.model.private import bring, keep
from roughfed.client.trainer.model.tensors import named_state, pieces, spec_of
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.personal.adaptive_mixing import LOCAL, WEIGHT, last_layers, mix
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.state import load_state, save_state
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.client.trainer.training.own_models import ALONE, load_alone, personalise, train_alone, without
from roughfed.errors import ConfigError
from roughfed.methods import PARTS, read_method
from roughfed.rng import derive
from roughfed.training import BaseFile, StatePlace, Turn
from roughfed.types import Spec

C, SEED = 3, 5
CPU = torch.device("cpu")


class Net(nn.Module):
    """Two layers with normalisation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(5)
        self.head = nn.Linear(5, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.body(x))))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def data(seed: int = 1, size: int = 48) -> Arrays:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(size) % C
    return Arrays(torch.randn(size, 6, generator=generator) + 2.0 * functional.one_hot(y, 6), y, CPU)


def work(folder: Path, model: nn.Module, method: str, *, private: str = "-", number: int = 1, **more: object) -> Work:
    """A training that begins with a model's own weights; the tensors under `private` are in no file."""
    settings = TrainerSettings.parse({"method": method, "batch_size": 8, "lr": 0.1, "momentum": 0.5, **more})
    rows = zip(spec_of(model).tensors, list(pieces(model)), strict=True)
    shared = [(t, values) for t, values in rows if not t.name.startswith(private)]
    spec = Spec(tuple(t for t, _ in shared))
    params.write_model(folder / f"{number}.safetensors", spec, [values for _, values in shared])
    return Work(folder / f"{number}.safetensors", folder / f"{number}.f32", settings, SEED, Turn(number, 9), C)


def trained(model: Net, given: Work, *, source: Arrays | None = None) -> Tensor:
    """Train; the delta."""
    fit(model, source or data(), given, report=lambda _: None)
    return torch.from_numpy(np.fromfile(given.delta, dtype="<f4"))


def own(model: Net, given: Work) -> Net:
    """The model that the client uses; its state stays as it is."""
    made = copy.deepcopy(model)
    remembered = copy.deepcopy(given.remembered)
    personalise(made, data(), replace(given, remembered=remembered), report=lambda _: None)
    return made


def same(one: nn.Module, other: nn.Module) -> bool:
    rows = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in rows)


# -- Ditto ------------------------------------------------------------------------------------------------------------


def ditto_by_hand(start: Net, anchor: Net, given: Work, pull: float) -> Net:
    """Algorithm 1's v on the loop's batches, with momentum, written out; `anchor`: w_t."""
    v, settings = copy.deepcopy(start), given.settings
    v.train()
    velocity = {name: torch.zeros_like(p) for name, p in v.named_parameters()}
    fixed = dict(anchor.named_parameters())
    loader = TrainLoader(data(), batch_size=8, seed=SEED, epochs=settings.epochs, max_steps=0, report=lambda _: None)
    for _ in range(settings.epochs):
        for batch in loader.epoch():
            v.zero_grad()
            functional.cross_entropy(v(batch.x), batch.y).backward()
            for name, p in v.named_parameters():
                assert p.grad is not None
                velocity[name] = (
                    settings.momentum * velocity[name] + p.grad + pull * (p.detach() - fixed[name].detach())
                )
                p.data -= settings.lr * velocity[name]
    return v


def test_ditto_steps_as_written_and_sends_what_plain_training_sends(tmp_path: Path) -> None:
    first = work(tmp_path, net(), "ditto(lambda=0.3)", epochs=2)
    delta = trained(net(), first)
    assert torch.equal(delta, trained(net(), work(tmp_path, net(), "plain", epochs=2)))

    v = own(net(), first)
    for name, p in ditto_by_hand(net(), net(), first, 0.3).named_parameters():
        torch.testing.assert_close(v.get_parameter(name), p, rtol=1e-5, atol=1e-6)

    moved = net(7)  # the next round's global model
    second = replace(work(tmp_path, moved, "ditto(lambda=0.3)", epochs=1, number=2), remembered=first.remembered)
    trained(copy.deepcopy(moved), second)
    for name, p in ditto_by_hand(v, moved, second, 0.3).named_parameters():
        torch.testing.assert_close(own(moved, second).get_parameter(name), p, rtol=1e-5, atol=1e-6)


def test_ditto_is_the_common_model_before_the_first_training_and_near_it_where_the_pull_is_strong(
    tmp_path: Path,
) -> None:
    fresh = work(tmp_path, net(), "ditto")
    assert same(own(net(), fresh), net())

    def distance(pull: float) -> float:
        given = work(tmp_path, net(), f"ditto(lambda={pull})", epochs=3)
        trained(net(), given)
        rows = zip(own(net(), given).parameters(), net().parameters(), strict=True)
        return sum(float((a - b).detach().square().sum()) for a, b in rows)

    far, near = distance(0.0), distance(4.0)
    assert 0 < near < far / 4


# -- adaptive mixing --------------------------------------------------------------------------------------------------


def mixed_by_hand(model: Net, local: Tensors, rate: float, batches: list[tuple[Tensor, Tensor]]) -> Tensors:
    """FedALA's weights of the head, by autograd of the loss as a function of W."""
    weight = {name: torch.ones_like(value) for name, value in local.items()}
    for x, y in batches:
        leaf = {name: value.clone().requires_grad_() for name, value in weight.items()}
        globals_ = {name: model.get_parameter(name).detach() for name in local}
        values = {name: local[name] + (globals_[name] - local[name]) * leaf[name] for name in local}
        probe = copy.deepcopy(model).train()
        output = torch.func.functional_call(probe, values, (x,))
        grads = torch.autograd.grad(functional.cross_entropy(output, y), list(leaf.values()))
        for name, grad in zip(leaf, grads, strict=True):
            weight[name] = (weight[name] - rate * grad).clamp(0, 1)
    return weight


def test_weights_of_the_mixing_are_learnt_as_their_gradient_says(tmp_path: Path) -> None:
    method = "adaptive-mixing(share=1.0, rate=2.0)"
    first = work(tmp_path, net(), method, epochs=3)
    assert torch.equal(
        trained(net(), first), trained(net(), work(tmp_path, net(), "plain", epochs=3))
    )  # nothing to mix

    moved = net(7)
    local = {f"head.{k}": first.remembered["adaptive-mixing"][f"{LOCAL}head.{k}"] for k in ("weight", "bias")}
    ones = {WEIGHT + name: torch.ones_like(value) for name, value in local.items()}
    kept = {"adaptive-mixing": {**first.remembered["adaptive-mixing"], **ones}}  # learnt before: one pass
    given = replace(work(tmp_path, moved, method, number=2), remembered=kept)
    seen: list[tuple[Tensor, Tensor]] = []
    whole = data()
    walk = whole.batches

    def noting(size: int, seed: int | None, order: Tensor | None = None, **how: bool):
        for batch in walk(size, seed, order, **how):
            seen.append((batch.x, batch.y))
            yield batch

    whole.batches = noting  # type: ignore[method-assign]
    made = copy.deepcopy(moved)
    remembered = copy.deepcopy(kept)
    personalise(made, whole, replace(given, remembered=remembered), report=lambda _: None)

    wanted = mixed_by_hand(moved, local, 2.0, seen)
    for name, weight in wanted.items():
        torch.testing.assert_close(remembered["adaptive-mixing"][WEIGHT + name], weight, rtol=1e-4, atol=1e-6)
        assert 0 <= float(weight.min()) < 1
        expected = local[name] + (moved.get_parameter(name) - local[name]) * weight
        torch.testing.assert_close(made.get_parameter(name), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(made.body.weight, moved.body.weight)


def test_where_the_weight_is_one_the_value_is_the_global_one_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(3)
    upper = {name: nn.Parameter(p.detach().clone()) for name, p in last_layers(net(), 1).items()}
    local = {name: torch.randn(p.shape, generator=generator) for name, p in upper.items()}
    weights = {name: torch.rand(p.shape, generator=generator).round() for name, p in upper.items()}
    for name, value in mix(upper, local, weights).items():
        assert torch.equal(value[weights[name] == 1], upper[name].detach()[weights[name] == 1])
        torch.testing.assert_close(value[weights[name] == 0], local[name][weights[name] == 0])


def test_a_training_begins_with_the_mixture_and_its_delta_is_from_the_global_model(tmp_path: Path) -> None:
    method = "adaptive-mixing(layers=1)"
    first = work(tmp_path, net(), method, epochs=4)
    trained(net(), first)
    moved = net(7)
    second = replace(work(tmp_path, moved, method, number=2, lr=1e-12), remembered=copy.deepcopy(first.remembered))
    mixture = own(moved, second)
    delta = trained(copy.deepcopy(moved), second)  # with steps that lead nowhere
    flat = [torch.from_numpy(np.concatenate(list(pieces(one)))) for one in (mixture, moved)]
    where = spec_of(moved).slices()
    for name in ("head.weight", "body.weight"):
        torch.testing.assert_close(delta[where[name]], (flat[0] - flat[1])[where[name]], rtol=0, atol=1e-6)
    assert float(delta[where["head.weight"]].abs().max()) > 0.01


# -- FedRep -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("private", ["head", "norm"])
def test_the_half_that_stands_still_is_the_same_to_the_bit(tmp_path: Path, private: str, optimizer: str) -> None:
    """At the end of the first phase the shared half is as it was; in the second one the private half stays."""
    more = {"optimizer": optimizer, "weight_decay": 0.1}
    model, start = net(), net()
    after_head = work(tmp_path, start, "fedrep(head=2)", private=private, epochs=3, max_steps=13, **more)
    trained(model, after_head)  # 6 batches an epoch: 12 steps of the head, one of the body

    def parts(one: Net) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        named = {n: t.detach().clone() for n, t in one.state_dict().items() if t.is_floating_point()}
        mine = {n: t for n, t in named.items() if n.startswith(private)}
        return mine, {n: t for n, t in named.items() if n not in mine}

    longer = net()
    trained(longer, work(tmp_path, start, "fedrep(head=2)", private=private, epochs=9, **more))
    (head, body), (head_later, body_later), (head_before, body_before) = parts(model), parts(longer), parts(start)
    assert all(torch.equal(value, head_later[name]) for name, value in head.items())
    assert any(not torch.equal(value, head_before[name]) for name, value in head.items())
    assert any(not torch.equal(value, body_later[name]) for name, value in body.items())

    one_step = net()  # the body's only step began where the body was: what the head's steps left of it
    trained(one_step, work(tmp_path, start, "fedrep(head=2)", private=private, epochs=3, max_steps=13, **more, lr=1e-9))
    for name, value in parts(one_step)[1].items():
        if "running" not in name:
            torch.testing.assert_close(value, body_before[name], rtol=0, atol=1e-7)

    only = replace(after_head, settings=replace(after_head.settings, max_steps=12))
    with pytest.raises(ConfigError, match="over by then"):
        trained(net(), only)


def on_a_base(folder: Path) -> tuple[Net, Work]:
    """Adapters on both layers, the second one's B private, everything else frozen, the normalisation too."""
    model = net()
    whole = spec_of(model)
    first = dict(zip((t.name for t in whole.tensors), pieces(model), strict=True))
    adapters, base = split(adapted_spec(whole, {"body.weight": 2, "head.weight": 2}), lambda t: t.name in first)
    shared = Spec(tuple(t for t in adapters.tensors if t.name != "head.lora_b"))
    params.write_model(folder / "base", base, [first[t.name] for t in base.tensors])
    stand_on(model, BaseFile(folder / "base"), shared.tensors)
    path = folder / "adapters"
    params.write_model(path, shared, [np.full(shared.size, 0.1, dtype=np.float32)])
    return model, replace(work(folder, net(), "fedrep", epochs=2), params=path)


def test_fedrep_knows_the_private_tensors_of_an_adapter_and_leaves_the_base_alone(tmp_path: Path) -> None:
    found: list[dict[str, Tensor]] = []
    for steps in (7, 12):  # 6 batches an epoch
        model, asked = on_a_base(tmp_path)
        before = {name: tensor.detach().clone() for name, tensor in named_state(model)}
        fit(model, data(), replace(asked, settings=replace(asked.settings, max_steps=steps)), report=lambda _: None)
        found.append({name: tensor.detach().clone() for name, tensor in named_state(model)})
        for name in ("norm.running_mean", "norm.running_var", "body.weight", "head.bias"):
            assert torch.equal(found[-1][name], before[name])
    begun, ended = found
    assert float(begun["head.lora_b"].abs().max()) > 0
    assert torch.equal(begun["head.lora_b"], ended["head.lora_b"])
    assert not torch.equal(begun["body.lora_b"], ended["body.lora_b"])


def test_fedrep_is_refused_without_private_tensors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fedrep needs tensors that stay with the client"):
        trained(net(), work(tmp_path, net(), "fedrep", epochs=2))


# -- fine-tuning, and a model trained alone ---------------------------------------------------------------------------


def test_fine_tuning_is_local_training_of_a_copy(tmp_path: Path) -> None:
    method = "balanced-softmax+fine-tune(epochs=3)"
    given = work(tmp_path, net(), method, number=9, schedule="cosine")
    without_it = work(tmp_path, net(), "balanced-softmax", number=9, schedule="cosine")
    assert torch.equal(trained(net(), given), trained(net(), without_it))
    assert not given.remembered.get("fine-tune")

    twin = net()
    alike = work(tmp_path, twin, "balanced-softmax", epochs=3, schedule="cosine")
    trained(twin, replace(alike, seed=derive(SEED, "own"), turn=Turn(1, 1)))  # though the schedule of the run is over
    assert same(own(net(), given), twin)
    assert not same(twin, net())


def test_alone_is_what_a_run_without_the_others_gives(tmp_path: Path) -> None:
    """Two rounds, whatever the global models are; methods lose what only a federation has."""
    states: list[dict[str, Tensors]] = []
    for globals_ in ((net(1), net(2)), (net(3), net(4))):
        remembered: dict[str, Tensors] = {}
        for number, start in enumerate(globals_, 1):
            given = work(tmp_path, start, "fedprox(mu=9)+ditto", number=number, prior="global")
            given = replace(given, remembered=remembered)
            trained(copy.deepcopy(start), given)
            train_alone(net(), data(), given, report=lambda _: None)
        states.append(remembered)
    (one, other) = (state[ALONE] for state in states)
    assert all(torch.equal(value, other[name]) for name, value in one.items())

    by_hand = net()
    for number in (1, 2):
        trained(by_hand, replace(work(tmp_path, by_hand, "plain", number=number), seed=derive(SEED, ALONE)))
    found = net()
    load_alone(found, states[0])
    assert same(found, by_hand)


@pytest.mark.parametrize("name", [name for name, row in PARTS.items() if row.room == "personal"])
def test_what_cannot_stand_beside_it_is_refused(name: str) -> None:
    for other in ("packnet", *(("scaffold",) if name in ("adaptive-mixing", "fedrep") else ())):
        with pytest.raises(ConfigError, match="cannot stand together"):
            read_method(f"{name}+{other}")
    if name != "ditto":
        with pytest.raises(ConfigError, match="one part of the room personal"):
            read_method(f"{name}+ditto")
    else:
        with pytest.raises(ConfigError, match="one network"):
            read_method("ditto+co-teaching")


def test_what_is_left_out_of_a_method() -> None:
    assert without("balanced-softmax+fedprox+ditto", "personal", "federated") == "balanced-softmax"
    assert without("scaffold+fine-tune", "personal", "scaffold") == "plain"


@pytest.mark.parametrize("method", ["ditto", "adaptive-mixing", "fedrep", "fine-tune"])
def test_a_training_that_is_done_again_after_a_kill_leaves_the_same_bits(tmp_path: Path, method: str) -> None:
    place = StatePlace(tmp_path / "state", bytes(32))
    digest = spec_of(net()).digest
    private = "head" if method == "fedrep" else "-"
    turns = [Turn(number, 4, "run", state=place) for number in (1, 2)]

    def go(turn: Turn) -> tuple[bytes, dict[str, Tensors]]:
        model = net(turn.round)
        given = work(tmp_path, model, method, private=private, number=turn.round, epochs=2)
        given = replace(given, turn=turn, remembered=load_state(turn, digest))
        shared = Spec(tuple(t for t in spec_of(model).tensors if not t.name.startswith(private)))
        bring(model, shared, given.remembered, net)
        delta = trained(model, given)
        keep(model, shared, given.remembered)
        train_alone(net(), data(), given, report=lambda _: None)
        save_state(turn, digest, given.remembered)
        return delta.numpy().tobytes(), given.remembered

    go(turns[0])
    once = go(turns[1])
    again = go(turns[1])  # the process died before its update left
    assert once[0] == again[0]
    flat = [{(p, n): t for p, ts in state.items() for n, t in ts.items()} for _, state in (once, again)]
    assert flat[0].keys() == flat[1].keys()
    assert all(torch.equal(tensor, flat[1][key]) for key, tensor in flat[0].items())
