"""Sketches of pairs are held against one another once, whoever comes first and however often the round looks."""

from typing import Any

import numpy as np
import pytest

from roughfed.secagg import disputes
from roughfed.secagg.disputes import Disputes
from roughfed.secagg.unmasking import Claim
from roughfed.types import Signed

NAMES = [f"c{number:02d}" for number in range(13)]
LANES = np.arange(4, dtype=np.uint8)


def claim(name: str, *, lies_to: str = "") -> Claim:
    pairs = {mate: LANES + (mate == lies_to) for mate in NAMES if mate != name}
    return Claim(Signed(b"", b"", name), LANES, pairs)


def taken(order: list[str], liar: str, victim: str) -> Disputes:
    found, claims = Disputes(4), dict[str, Claim]()
    for name in order:
        claims[name] = claim(name, lies_to=victim if name == liar else "")
        found.compare(name, claims)
        assert found.new is ({liar, victim} <= claims.keys())
    assert [(asked, conflict.member) for asked, conflict in found.ask(claims)] == [(victim, liar), (liar, victim)]
    assert not found.new
    assert found.ask(claims) == []
    return found


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], NAMES[6:] + NAMES[:6]])
def test_a_pair_that_differs_is_found_whoever_comes_first(order: list[str]) -> None:
    assert taken(order, "c09", "c02").knows(("c02", "c09"))


def test_each_pair_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    equal = np.array_equal

    def counted(a: Any, b: Any) -> bool:
        compared.append(1)
        return equal(a, b)

    monkeypatch.setattr(disputes.np, "array_equal", counted)
    taken(NAMES, "c09", "c02")
    assert len(compared) == 13 * 12 // 2
