"""Entropy is an argument: a short draw is refused, and nothing but that argument makes a secret (T21)."""

import hashlib
import os
import random

import numpy as np
import pytest

from roughfed.crypto.agreement import SELF, KeyPair, derive, exchange
from roughfed.crypto.entropy import Entropy, draw
from roughfed.crypto.masks import lanes_at
from roughfed.crypto.sealing import seal
from roughfed.crypto.shamir import split
from roughfed.errors import LocalProtocolError


def stream(seed: bytes) -> Entropy:
    """A repeatable source: for tests only."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(seed + count.to_bytes(4, "big")).digest(size)

    return entropy


def secrets(entropy: Entropy) -> list[bytes]:
    """One of everything that is drawn."""
    key = KeyPair.generate(entropy)
    shared = exchange(key.private, KeyPair.generate(entropy).public)
    b = draw(entropy, 32)
    mask = lanes_at(derive(b, SELF, b"info"), np.arange(64), np.uint8)
    shares = split(b, range(1, 6), threshold=4, entropy=entropy)
    return [key.private, shared, mask.tobytes(), *shares, seal(b, b"", aad=b"", entropy=entropy)]


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_source_that_gives_another_length_is_refused(size: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{size} bytes, want 32"):
        draw(lambda _: bytes(size), 32)


def test_seeds_of_other_generators_change_nothing_and_are_not_touched() -> None:
    found = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        found.append(secrets(stream(b"a")))
        assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert found[0] == found[1]


def test_equal_seeds_of_other_generators_do_not_repeat_a_secret_of_the_operating_system() -> None:
    found = []
    for _ in range(2):
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        found.append(secrets(os.urandom))
    assert not set(found[0]) & set(found[1])


def test_the_operating_systems_entropy_changes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed in (b"a", b"b", b"a"):
        monkeypatch.setattr(os, "urandom", stream(seed))
        found.append(secrets(os.urandom))
    assert found[0] == found[2] == secrets(stream(b"a"))
    assert not set(found[0]) & set(found[1])
