"""Two sums on one model, with and without somebody: what their difference says of its update.

Exact sums, as fine rounding gives them. A server that knows the randomness of every training has the same one made
twice, and everything but the update of who is missing cancels. With randomness of the clients' own the trainings of
all others differ by the order of their batches, which hides a part of it; how much is in docs/privacy.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from roughfed.client.own_secret import mixed_seed
from roughfed.data import Dataset
from roughfed.deploy.bench import local
from roughfed.deploy.bench.local import LocalFederation
from roughfed.rng import derive
from roughfed.types import Job, Signed

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


def cosine(folder: Path, monkeypatch: pytest.MonkeyPatch, seeds: Callable[[int, str, str, int], int]) -> float:
    """Cosine between the first client's update and the difference of the sums with and without it."""
    monkeypatch.setattr(local, "derive", seeds)
    federation = LocalFederation(net, shares(), folder, num_classes=10, seed=3, settings={})
    federation.run(WARM)
    rounds = [[federation.delta(c, WARM + number, 50) for c in federation.clients] for number in (1, 2)]
    found = np.sum(rounds[0], axis=0) - np.sum(rounds[1][1:], axis=0)
    victim = rounds[0][0]
    return float(found @ victim / np.linalg.norm(found) / np.linalg.norm(victim))


def test_a_training_that_the_server_can_repeat_is_the_difference_of_two_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cosine(tmp_path, monkeypatch, by_server) > 0.99999


def test_a_training_with_a_secret_of_the_clients_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cosine(tmp_path, monkeypatch, by_client) < 0.95
