"""SCAFFOLD, both halves together, against a slow one; what counts, what does not, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.model.tensors import spec_of
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.loop import Work, fit, no_op_update
from roughfed.errors import ConfigError
from roughfed.params import Flat, read_flat, write_model
from roughfed.server.aggregate.control_variates import VariateUpdate, with_variates
from roughfed.shared_tensors import SCALE, SINCE, model_part, shared_spec
from roughfed.training import Turn

CPU = torch.device("cpu")
SCALED = 0.7


class Point(nn.Module):
    """Output w x + b, of which the squared error is a quadratic in (w, b)."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x)


SPEC = shared_spec(spec_of(Point()), controls=True)
D = model_part(SPEC).size


@dataclass
class Party:
    """A client: its examples, its state, and the rounds in which it counted."""

    x: np.ndarray
    y: np.ndarray
    state: dict[str, Tensors] = field(default_factory=dict)
    said: dict[int, float] = field(default_factory=dict)


def parties(count: int, *, examples: int = 8) -> list[Party]:
    """Clients whose least squares lie far from one another, and curve differently."""
    rng = np.random.default_rng(5)
    found = []
    for k in range(count):
        x = rng.normal(size=(examples, 2)).astype(np.float32) * np.float32(0.5 + 0.5 * k)
        w = rng.normal(size=2) * 3
        found.append(Party(x, (x @ w + k).astype(np.float32)[:, None]))
    return found


def update(party: Party, vector: Flat, number: int, folder: Path, *, since: int = 0, **settings: object) -> Flat:
    """One local training, in one batch a step: [2 D]; `since`: rounds up to it were taken back."""
    path = folder / "model.safetensors"
    write_model(path, SPEC, [vector])
    usual: dict[str, object] = {
        "method": "mse+scaffold",
        "lr": 0.02,
        "momentum": 0.0,
        "batch_size": len(party.x),
        "epochs": 10,
        **settings,
    }
    facts = {SCALE: (SCALED,), **({SINCE: (float(since),)} if since else {})}
    turn = Turn(number, 100, facts=facts, said=party.said)
    parsed = TrainerSettings.parse(usual | settings)
    work = Work(path, folder / "delta", parsed, 3, turn, 0, remembered=party.state)
    source = Arrays(torch.from_numpy(party.x), torch.from_numpy(party.y), CPU)
    fit(Point(), source, work, report=lambda _: None)
    return np.fromfile(folder / "delta", dtype="<f4")


def combined(vector: Flat, updates: Sequence[Flat], ledger: VariateUpdate, folder: Path) -> Flat:
    """The next vector, slice by slice, as `combine` does with lr 1."""
    base = folder / "base.safetensors"
    write_model(base, SPEC, [vector])
    mean: Flat = np.stack(updates).mean(axis=0, dtype=np.float32)  # [2 D]
    added = with_variates(lambda start, stop: mean[start:stop], SPEC, base, ledger)
    pieces = [added(start, min(start + 2, 2 * D)) for start in range(0, 2 * D, 2)]
    whole = added(0, 2 * D)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    return vector + whole


def federate(
    clients: Sequence[Party], cohorts: Sequence[Sequence[int]], folder: Path, **settings: object
) -> tuple[Flat, list[np.ndarray]]:
    """Both halves of ours: the vectors after each round."""
    vector, known, seen = np.zeros(2 * D, dtype=np.float32), set[int](), []
    for number, cohort in enumerate(cohorts, 1):
        updates = [update(clients[k], vector, number, folder, **settings) for k in cohort]
        for k in cohort:
            clients[k].said[number] = 1.0
        ledger = VariateUpdate(len(known), len(known | set(cohort)), len(cohort), SCALED)
        known |= set(cohort)
        vector = combined(vector, updates, ledger, folder)
        seen.append(vector.astype(np.float64))
    return vector, seen


def gradient(party: Party, w: np.ndarray) -> np.ndarray:
    """Of the mean squared error in (w1, w2, b), float64."""
    rows = np.hstack([party.x, np.ones((len(party.x), 1))]).astype(np.float64)
    return 2 * rows.T @ (rows @ w - party.y[:, 0]) / len(rows)


def slow(clients: Sequence[Party], cohorts: Sequence[Sequence[int]], *, lr: float, steps: int) -> list[np.ndarray]:
    """Algorithm 1 with option II as it is printed, sums over all that have a c_i, float64."""
    x, own, seen = np.zeros(3), dict[int, np.ndarray](), []
    for cohort in cohorts:
        c = sum(own.values(), np.zeros(3)) / max(1, len(own))
        moves, fresh = [], {}
        for k in cohort:
            y = x.copy()
            correction = c - own[k] if k in own else np.zeros(3)
            for _ in range(steps):
                y -= lr * (gradient(clients[k], y) + correction)
            fresh[k] = (x - y) / (steps * lr) - correction
            moves.append(y - x)
        own |= fresh
        x = x + np.mean(moves, axis=0)
        seen.append(np.concatenate([x, sum(own.values(), np.zeros(3)) / len(own)]))
    return seen


@pytest.mark.parametrize(
    "cohorts",
    [[[0, 1, 2]] * 6, [[0, 1], [2, 3], [0, 2], [1, 3], [3], [0, 1, 2, 3], [2]]],
    ids=["everybody", "some of them"],
)
def test_both_halves_are_the_printed_algorithm(cohorts: list[list[int]], tmp_path: Path) -> None:
    clients = parties(4)
    wanted = slow(clients, cohorts, lr=0.02, steps=10)
    _, found = federate(clients, cohorts, tmp_path)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def best(clients: Sequence[Party]) -> np.ndarray:
    """Where the mean of all gradients is zero."""
    hessian = np.stack([gradient_of_all(clients, unit) - gradient_of_all(clients, np.zeros(3)) for unit in np.eye(3)])
    return np.linalg.solve(hessian, -gradient_of_all(clients, np.zeros(3)))


def gradient_of_all(clients: Sequence[Party], w: np.ndarray) -> np.ndarray:
    return np.mean([gradient(party, w) for party in clients], axis=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_clients_that_drift_agree_on_the_minimum_of_all_and_without_it_beside_it(
    momentum: float, tmp_path: Path
) -> None:
    clients, cohorts, rounds = parties(3), [[0, 1, 2]] * 60, 60
    plain = {"lr": 0.02 * (1 - momentum), "momentum": momentum}
    vector, _ = federate(clients, cohorts, tmp_path, epochs=20, **plain)
    x = np.zeros(3)
    for _ in range(rounds):  # FedAvg of the same steps
        moves = []
        for party in clients:
            y, v = x.copy(), np.zeros(3)
            for _ in range(20):
                v = momentum * v + gradient(party, y)
                y -= plain["lr"] * v
            moves.append(y - x)
        x = x + np.mean(moves, axis=0)
    goal = best(clients)
    biased, unbiased = np.linalg.norm(x - goal), np.linalg.norm(vector[:D] - goal)
    assert biased > 0.1
    assert unbiased < 0.01 * biased
    c, own = vector[D:], np.mean([party.state["scaffold"]["next"].numpy() for party in clients], axis=0)
    np.testing.assert_allclose(c, own, atol=1e-3)


def test_a_client_whose_update_did_not_count_goes_on_as_if_it_had_made_none(tmp_path: Path) -> None:
    clients, vector = parties(3), np.zeros(2 * D, dtype=np.float32)
    first = [update(party, vector, 1, tmp_path) for party in clients]
    vector = combined(vector, first[:2], VariateUpdate(0, 2, 2, SCALED), tmp_path)
    for party in clients[:2]:
        party.said[1] = 1.0
    before = clients[2].state["scaffold"]["next"].clone()
    again = update(clients[2], vector, 2, tmp_path)
    fresh = update(Party(clients[2].x, clients[2].y), vector, 2, tmp_path)
    np.testing.assert_array_equal(again, fresh)
    assert "own" not in clients[2].state["scaffold"]
    assert not torch.equal(before, clients[2].state["scaffold"]["next"])


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_its_own_variate_moves_by_what_the_sum_has_taken(share: float, tmp_path: Path) -> None:
    party, vector = parties(1)[0], np.zeros(2 * D, dtype=np.float32)
    sent = update(party, vector, 1, tmp_path)
    party.said[1] = share
    update(party, vector, 2, tmp_path)
    np.testing.assert_allclose(party.state["scaffold"]["own"].numpy() * SCALED, share * sent[D:], rtol=1e-6)


def test_the_same_training_done_again_is_the_same_update(tmp_path: Path) -> None:
    party, vector = parties(1)[0], np.full(2 * D, 0.1, dtype=np.float32)
    update(party, vector, 1, tmp_path)
    party.said[1] = 1.0
    kept = {part: {name: tensor.clone() for name, tensor in state.items()} for part, state in party.state.items()}
    sent = update(party, vector, 2, tmp_path)
    party.state = kept
    np.testing.assert_array_equal(update(party, vector, 2, tmp_path), sent)


def test_who_has_nothing_to_train_on_changes_no_variate(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, SPEC, [np.ones(2 * D, dtype=np.float32)])
    turn = Turn(1, facts={SCALE: (SCALED,)})
    settings = TrainerSettings.parse({"method": "mse+scaffold"})
    no_op_update(Point(), Work(path, tmp_path / "delta", settings, 3, turn, 0))
    assert np.fromfile(tmp_path / "delta", dtype="<f4").tolist() == [0.0] * (2 * D)


REFUSED: dict[str, tuple[str, bool, Mapping[str, Sequence[float]], str]] = {
    "the method asks for none": ("mse", True, {SCALE: (1.0,)}, "trains with scaffold, and this client with method"),
    "the federation has none": ("mse+scaffold", False, {}, "this federation sums none"),
    "no scale": ("mse+scaffold", True, {}, "did not say how"),
    "a scale that is none": ("mse+scaffold", True, {SCALE: (0.0,)}, "did not say how"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_trainer_and_a_federation_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    method, controls, facts, why = REFUSED[case]
    spec = SPEC if controls else model_part(SPEC)
    path = tmp_path / "model.safetensors"
    write_model(path, spec, [np.zeros(spec.size, dtype=np.float32)])
    party = parties(1)[0]
    work = Work(path, tmp_path / "delta", TrainerSettings.parse({"method": method}), 3, Turn(1, facts=facts), 0)
    source = Arrays(torch.from_numpy(party.x), torch.from_numpy(party.y), CPU)
    with pytest.raises(ConfigError, match=why) as caught:
        fit(Point(), source, work, report=lambda _: None)
    assert caught.value.key == "trainer.method"


def test_an_own_loop_cannot_take_part(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, SPEC, [np.zeros(2 * D, dtype=np.float32)])
    work = Work(path, tmp_path / "d", TrainerSettings.parse({"method": "mse+scaffold"}), 3, Turn(1), 0)
    source = Arrays(torch.zeros(2, 2), torch.zeros(2, 1), CPU)
    with pytest.raises(ConfigError, match="a loop of its own"):
        fit(Point(), source, work, report=lambda _: None, own=lambda *_: None)


def test_a_file_of_zeros_begins_the_run(tmp_path: Path) -> None:
    from roughfed.server.model.frozen import ModelDivision, lay

    whole = spec_of(Point())
    values = np.arange(D, dtype=np.float32)
    write_model(tmp_path / "m.safetensors", whole, [values])
    lay(ModelDivision(whole, SPEC), tmp_path / "m.safetensors", whole, folder=tmp_path, seed=0)
    assert read_flat(tmp_path / "m.safetensors").tolist() == [*values.tolist(), *[0.0] * D]


def test_whoever_is_accepted_moves_the_control_variates_for_good(tmp_path: Path) -> None:
    """The warning in docs/trainers.md: zeros for x and a small vector for c, in every round, and the model leaves."""
    clients, vector, ways = parties(3), np.zeros(2 * D, dtype=np.float32), []
    lie = np.concatenate([np.zeros(D), np.full(D, 0.5)]).astype(np.float32)
    goal = best(clients)
    for number in range(1, 61):
        updates = [update(party, vector, number, tmp_path) for party in clients]
        for party in clients:
            party.said[number] = 1.0
        ledger = VariateUpdate(0 if number == 1 else 4, 4, 4, SCALED)
        vector = combined(vector, [*updates, lie], ledger, tmp_path)
        ways.append(float(np.linalg.norm(vector[:D] - goal)))
    assert ways[59] - ways[39] > 0.5 * (ways[39] - ways[19]) > 0.1


@pytest.mark.parametrize("told", [True, False])
def test_after_rounds_that_were_taken_back_c_is_the_mean_of_the_c_i_again(told: bool, tmp_path: Path) -> None:
    """The server goes back to the state after round 2, its clients are not: they agree again only if they are told."""
    clients, everybody = parties(3), range(3)
    vector, kept, since = np.zeros(2 * D, dtype=np.float32), np.zeros(0, dtype=np.float32), 0
    for number in range(1, 9):
        if number == 3:
            kept = vector.copy()
        if number == 6:
            vector, since = kept, 5 if told else 0
        updates = [update(clients[k], vector, number, tmp_path, since=since) for k in everybody]
        for k in everybody:
            clients[k].said[number] = 1.0
        anew = number == 1 or (number == 6 and told)
        vector = combined(vector, updates, VariateUpdate(0 if anew else 3, 3, 3, SCALED), tmp_path)
        own = np.mean([clients[k].state["scaffold"]["next"].numpy() for k in everybody], axis=0)
        agree = np.allclose(vector[D:], own, rtol=1e-3, atol=1e-4)
        assert agree == (told or number < 6)
