"""Where secrets come from and what masked uploads show: all of a client's bytes follow from one secret."""

from __future__ import annotations

import random

import numpy as np
import pytest

from roughfed.secagg.client import ClientRound
from roughfed.secagg.terms import Party
from roughfed.types import Signed

from .secagg import StageWire, identity, make_round, open_entry


def transcript(seed: int = 0, group: int = 0, size: int = 7) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """What each client sent, all together, and its upload."""
    round_ = make_round(size, seed=seed, length=1024, dim=16, group=group)
    sent: dict[str, list[bytes]] = {}
    tell = round_.tell

    def noted(name: str, message: object, signed: Signed | None = None) -> list[Signed]:
        answers = tell(name, message, signed)  # pyright: ignore[reportArgumentType]
        sent.setdefault(name, []).extend(a.body + a.signature for a in answers)
        return answers

    round_.tell = noted  # pyright: ignore[reportAttributeAccessIssue]
    outcome, _ = round_.play()
    assert outcome.total is not None
    return {name: b"".join(parts) for name, parts in sent.items()}, round_.lanes


def test_the_same_messages_make_the_same_bytes_whatever_the_libraries_draw() -> None:
    """T21 and A3: a restarted client that is shown the same messages sends identical bytes."""
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    first, lanes = transcript()
    np.random.seed(2)  # noqa: NPY002
    random.seed(2)
    again, same = transcript()
    assert first == again
    assert all(lanes[n].tobytes() == same[n].tobytes() for n in lanes)


def test_another_secret_makes_other_keys_and_masks() -> None:
    round_ = make_round(7)
    party = Party("c00", identity("c00").sign, open_entry, StageWire())
    adverts = {ClientRound(round_.terms, party, bytes([i]) * 32, round_.policy).advert.body for i in range(8)}
    assert len(adverts) == 8


@pytest.mark.parametrize("value", [0, 1])
def test_masked_uploads_look_even_and_differ_everywhere(value: int) -> None:
    """T18: chi-square over bytes, bits in balance, no two alike over clients, rounds and groups."""
    uploads: list[np.ndarray] = []
    for seed, group, size in ((0, 0, 7), (1, 0, 7), (2, 0, 21), (2, 1, 21)):
        round_ = make_round(size, seed=seed, length=4096, dim=0, group=group)
        for codes in round_.codes.values():
            codes[:] = value
        round_.play()
        uploads += round_.lanes.values()
    data = np.concatenate(uploads)
    counts = np.bincount(data, minlength=256)
    expected = len(data) / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert 255 - 6 * 510**0.5 < chi_square < 255 + 6 * 510**0.5
    ones = int(np.unpackbits(data).sum())
    assert abs(ones - 4 * len(data)) < 5 * (2 * len(data)) ** 0.5
    for i, a in enumerate(uploads):
        for b in uploads[:i]:
            assert abs(int((a == b).sum()) - 16) < 30  # 4096 / 256 by chance
