"""Each lie of deploy/attack over the real machines: its row says what becomes of it, and a restart repeats it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from roughfed.deploy.attack import ATTACKS
from roughfed.deploy.attack.lying_client import Liar, LyingRound
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound
from roughfed.types import Signed

from . import secagg
from .lies import LIAR
from .secagg import Round, make_round

LIES = {name: attack for name, attack in ATTACKS.items() if attack.lie is not None}


def lying_round(
    monkeypatch: pytest.MonkeyPatch, attack: str, size: int, *, bits: int = 8
) -> tuple[Round, list[Callable[[], ClientRound]]]:
    """A round with one liar in it; how to make its machine again, once it was made."""
    lie = LIES[attack].lie
    assert lie is not None
    again: list[Callable[[], ClientRound]] = []

    def machine(terms: Any, party: Any, secret: bytes, policy: Any) -> ClientRound:
        if party.name != LIAR:
            return ClientRound(terms, party, secret, policy)
        again.append(lambda: Liar(lie)(terms, party, secret, policy))
        return again[0]()

    monkeypatch.setattr(secagg, "ClientRound", machine)
    return make_round(size, seed=size, bits=bits, length=4096, dim=64), again


@pytest.mark.parametrize(("size", "bits"), [(5, 8), (8, 8), (16, 8), (7, 16)])
@pytest.mark.parametrize("name", LIES)
def test_a_row_says_what_becomes_of_its_lie(monkeypatch: pytest.MonkeyPatch, name: str, size: int, bits: int) -> None:
    attack = LIES[name]
    round_, _ = lying_round(monkeypatch, name, size, bits=bits)
    outcome, group = round_.play()
    assert outcome.proofs == ({LIAR: attack.proof} if attack.proof else {})
    assert (outcome.total is None) == attack.voids
    assert outcome.noted.keys() <= {LIAR}
    assert not round_.turned_away
    if not attack.voids:
        others = set(round_.names) - {LIAR}
        assert set(outcome.accepted) - {LIAR} == others  # nobody else pays
        assert group.verdicts[LIAR] == ("left-out" if name == "false-tags" else attack.verdict)


@pytest.mark.parametrize("name", LIES)
def test_a_liar_that_starts_again_tells_the_same_lie(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    round_, again = lying_round(monkeypatch, name, 7)
    heard: list[tuple[m.Message, Signed | None, list[Signed]]] = []
    tell = round_.tell

    def listening(client: str, message: m.Message, signed: Signed | None = None) -> list[Signed]:
        answers = tell(client, message, signed)
        if client == LIAR:
            heard.append((message, signed, answers))
        return answers

    round_.tell = listening
    round_.play()
    second = again[0]()
    assert isinstance(second, LyingRound)
    assert second.advert == round_.clients[LIAR].advert
    for message, signed, answers in heard:
        if isinstance(message, m.Conflict):
            break  # the machine sees that it is its own sketch that is false, and is spent
        if isinstance(message, m.Seed):
            np.testing.assert_array_equal(second.mask(round_.codes[LIAR]), round_.lanes[LIAR])
            second.uploaded(round_.statements[LIAR])
        assert bodies(second.receive(message, signed)) == bodies(answers)
    assert len(heard) >= 2


def test_a_liar_is_honest_in_its_first_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    lie = LIES["false-sketch"].lie
    assert lie is not None
    liar, made = Liar(lie, after=2), list[type[ClientRound]]()
    monkeypatch.setattr(secagg, "ClientRound", liar)
    for seed in (
        0,
        0,
        1,
        2,
        1,
    ):  # one machine for each client of each round; a round that is taken up again counts once
        made.append(type(next(iter(played(seed).clients.values()))))
    assert made == [ClientRound, ClientRound, ClientRound, LyingRound, ClientRound]


def played(seed: int) -> Round:
    round_ = make_round(5, seed=seed, length=4096, dim=64)
    round_.advertise()
    return round_


def bodies(answers: Sequence[Signed]) -> list[bytes]:
    return [answer.body for answer in answers]
