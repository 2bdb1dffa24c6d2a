"""Laws of the rooms of `client/trainer`: every part of the table keeps them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from roughfed import params
from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Context, Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.compose import TABLES, Method
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.errors import ConfigError
from roughfed.methods import PARTS, PRESETS, ROOMS, read_method
from roughfed.shared_tensors import SCALE, shared_spec
from roughfed.training import Turn
from roughfed.types import Spec

C = 4
CPU = torch.device("cpu")
FAST = {"condensed": "condensed(steps=3)"}  # what a part costs is the benches' business
CLASSIFICATION = [FAST.get(name, name) for name, row in PARTS.items() if name != "mse"]
METHODS = [*CLASSIFICATION, *PRESETS]
SKEWED = [0] * 20 + [1] * 10 + [2] * 5 + [3] * 2
LABELS = {
    "long tail": SKEWED,
    "one class": [2] * 12,
    "an absent class": [0] * 10 + [1] * 10 + [3] * 3,
    "one example": [1],
    "a last batch of one": [0, 1, 2, 3] * 4 + [0],
}


class Net(nn.Module):
    """Images of 1 x 6 x 6, one or three experts on a trunk."""

    def __init__(self, experts: int = 1) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 8), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(8, C) for _ in range(experts))
        if experts > 1:
            self.each = self._each

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.trunk(x)
        return (
            torch.stack([head(features) for head in self.heads]).mean(dim=0)
            if len(self.heads) > 1
            else self.heads[0](features)
        )

    def _each(self, x: torch.Tensor) -> torch.Tensor:
        features = self.trunk(x)
        return torch.stack([head(features) for head in self.heads])


def net_for(method: str, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(3 if "experts" in read_method(method).needs else 1)


def data_of(labels: list[int], seed: int = 1) -> Arrays:
    """Classes that can be told apart, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.tensor(labels)
    x = 0.5 * torch.randn(len(y), 1, 6, 6, generator=generator)
    for c in range(C):
        x[y == c, 0, c] += 2.0
    return Arrays(x, y, CPU, ids=torch.arange(len(y)) + 1000)


def train_once(
    method: str,
    folder: Path,
    *,
    labels: list[int] = SKEWED,
    net: Net | None = None,
    turn: Turn | None = None,
    remembered: dict[str, Tensors] | None = None,
    epochs: int = 1,
    task: int = 0,
    prior: str = "local",
) -> tuple[Net, bytes, dict[str, Tensors]]:
    """Train from a network's own weights; the trained network, its delta, and what the parts remember."""
    net = net if net is not None else net_for(method)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    turn = turn or Turn(1, 4)
    spec, values = spec_of(net), list(pieces(net))
    if "private" in read_method(method).needs:
        values = [v for v, t in zip(values, spec.tensors, strict=True) if not t.name.startswith("heads")]
        spec = Spec(tuple(t for t in spec.tensors if not t.name.startswith("heads")))
    if "scaffold" in read_method(method):
        whole = shared_spec(spec, controls=True)
        values.append(np.zeros(whole.size - spec.size, dtype=np.float32))
        spec, turn = whole, replace(turn, facts={**turn.facts, SCALE: (1.0,)})
    params.write_model(path, spec, values)
    settings = TrainerSettings.parse(
        {
            "method": method,
            "epochs": epochs + ("private" in read_method(method).needs),
            "batch_size": 8,
            "lr": 0.02,
            "momentum": 0.0,
            "prior": prior,
        }
    )
    state: dict[str, Tensors] = {} if remembered is None else remembered
    work = Work(
        path,
        folder / "delta",
        settings,
        3,
        turn,
        C,
        task=task,
        clean=data_of([0, 1, 2, 3] * 2, 9),
        remembered=state,
    )
    result = fit(net, data_of(labels), work, report=lambda _: None)
    assert all(torch.isfinite(torch.tensor(list(result.metrics.values()))))
    return net, (folder / "delta").read_bytes(), state


def test_the_tables_speak_of_the_same_parts() -> None:
    assert tuple(TABLES) == ROOMS
    for room, table in TABLES.items():
        assert set(table) == {name for name, row in PARTS.items() if row.room == room}, room
    for name, row in PARTS.items():
        assert row.room in ROOMS
        assert row.about
        assert all(other in PARTS or other in ROOMS for other in row.excludes), name
        assert all(other in PARTS for other in row.brings), name


@pytest.mark.parametrize("method", METHODS)
def test_a_method_lowers_the_loss_on_a_toy(method: str, tmp_path: Path) -> None:
    before, data = net_for(method), data_of(SKEWED)
    batch = data.gather(torch.arange(data.num_examples))

    def loss(net: Net) -> float:
        net.eval()
        with torch.no_grad():
            return float(nn.functional.cross_entropy(net(batch.x), batch.y))

    first = loss(before)
    after, _, _ = train_once(method, tmp_path, net=copy.deepcopy(before), epochs=25)
    assert loss(after) < first


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("method", METHODS)
def test_odd_data_neither_crash_it_nor_give_nan(method: str, labels: list[int], tmp_path: Path) -> None:
    state: dict[str, Tensors] = {}
    net: Net | None = None
    for number in (1, 2):
        net, delta, state = train_once(
            method, tmp_path, labels=labels, net=net, turn=Turn(number, 2), remembered=state, task=number - 1
        )
        assert torch.isfinite(torch.frombuffer(bytearray(delta), dtype=torch.float32)).all()


@pytest.mark.parametrize("method", METHODS)
def test_state_saves_loads_and_goes_on_bit_for_bit(method: str, tmp_path: Path) -> None:
    from roughfed.client.trainer.state import load_state, save_state
    from roughfed.training import StatePlace

    place = StatePlace(tmp_path / "state", bytes(range(32)))
    net, _, state = train_once(method, tmp_path / "a", turn=Turn(1, 4))
    spec = spec_of(net).digest
    save_state(Turn(1, 4, "run", state=place), spec, state)
    again = load_state(Turn(2, 4, "run", state=place), spec)
    twin = copy.deepcopy(net)
    goes_on = train_once(method, tmp_path / "a", net=net, turn=Turn(2, 4), remembered=state, task=1)[1]
    assert train_once(method, tmp_path / "b", net=twin, turn=Turn(2, 4), remembered=again, task=1)[1] == goes_on


@pytest.mark.parametrize("method", METHODS)
def test_the_network_keeps_its_shape_and_what_learns(method: str, tmp_path: Path) -> None:
    net = net_for(method)
    before = [(name, p.shape, p.requires_grad) for name, p in net.named_parameters()]
    after, _, _ = train_once(method, tmp_path, net=net)
    assert [(name, p.shape, p.requires_grad) for name, p in after.named_parameters()] == before
    assert not [m for m in after.modules() if m._forward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_the_table_says_which_parts_go_by_the_shares_of_the_classes(name: str, tmp_path: Path) -> None:
    options = "(after=0.0)" if name in ("drw", "crt") else ""
    told = [Turn(3, 4, facts={"class-prior": shares}) for shares in ((0.7, 0.1, 0.1, 0.1), (0.1, 0.1, 0.1, 0.7))]
    one, other = (train_once(name + options, tmp_path, turn=turn, epochs=2, prior="global")[1] for turn in told)
    assert (one != other) == any(part.row.by_shares for part in read_method(name).parts)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_client_lacks_is_refused_by_name(method: str, tmp_path: Path) -> None:
    from torch.utils.data import DataLoader, TensorDataset

    from roughfed.client.trainer.examples.batches import open_source
    from roughfed.client.trainer.training.choose import check

    given = open_source(DataLoader(TensorDataset(torch.randn(8, 5), torch.arange(8) % C), 4), CPU, torch.float32)
    context = Context(nn.Linear(5, C), given, TrainerSettings(), C, torch.Generator())
    composition = read_method(method)
    lacking = composition.needs & {"counts", "order", "ids", "images", "experts", "memory", "clean", "tasks", "private"}
    if lacking:
        with pytest.raises(ConfigError, match="needs"):
            check(composition, context, allow_memory=False)
    else:
        check(composition, context, allow_memory=False)
        Method(composition, context)
