"""Two sums on one model, with and without somebody: what their difference says of its update.

Exact sums, as fine rounding gives them. A server that knows the randomness of every training has the same one made
twice, and everything but the update of who is missing cancels. With randomness of the clients' own the trainings of
all others differ by the order of their batches, which hides a part of it, or by the examples themselves; how much is
in docs/privacy.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from roughfed.client.storage.own_secret import mixed_seed
from roughfed.data import Dataset
from roughfed.rng import derive
from roughfed.training import Turn
from roughfed.types import Job, Signed
from tests.bench.harness import federation as harness
from tests.bench.harness.federation import LocalFederation

CLIENTS, EXAMPLES, WARM = 6, 170, 10


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def shares() -> list[Dataset]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[: CLIENTS * EXAMPLES].reshape(CLIENTS, EXAMPLES)
    values, labels = (x / 16).astype(np.float32), y.astype(np.int64)
    return [Dataset(values[own], labels[own], np.arange(EXAMPLES), 10, "digits") for own in order]


def by_server(seed: int, _what: str, name: str, _number: int) -> int:
    """The seed that a server says, the same in both rounds."""
    return derive(seed, "client", name)


def by_client(seed: int, what: str, name: str, number: int) -> int:
    """The same word, mixed with a secret and the header of each round."""
    said = by_server(seed, what, name, number)
    header = Signed(str(number).encode(), bytes(64), "server")
    job = Job(header, {}, said, evaluate=False, train=True, model_bytes=0, seconds_left=0.0)
    return mixed_seed(name.encode().ljust(32))(job)


def cosines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seeds: Callable[[int, str, str, int], int], *, redraw: bool = False
) -> tuple[float, float]:
    """Cosine of the first client's update to the difference of the sums with and without it, and to the first sum."""
    monkeypatch.setattr(harness, "derive", seeds)
    federation = LocalFederation(net, shares(), folder, num_classes=10, seed=3, settings={})
    federation.run(WARM)
    federation.hand_out(federation.params)
    every = [federation.delta(c, WARM + 1, 50) for c in federation.clients]
    monkeypatch.setattr(harness, "Turn", partial(Turn, redraw=redraw))
    again = [federation.delta(c, WARM + 2, 50) for c in federation.clients[1:]]
    sums, victim = np.sum(every, axis=0), every[0]

    def to_victim(found: np.ndarray) -> float:
        return float(found @ victim / np.linalg.norm(found) / np.linalg.norm(victim))

    return to_victim(sums - np.sum(again, axis=0)), to_victim(sums)


def test_a_training_that_the_server_can_repeat_is_the_difference_of_two_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cosines(tmp_path, monkeypatch, by_server)[0] > 0.99999


def test_a_training_with_a_secret_of_the_clients_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    difference, public = cosines(tmp_path, monkeypatch, by_client)
    assert public < difference < 0.95


def test_on_a_model_that_stands_still_it_tells_less_than_the_sum_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where examples are drawn with replacement (`roughfed.client.disclosure.round.record_model`)."""
    difference, public = cosines(tmp_path, monkeypatch, by_client, redraw=True)
    assert difference < public
