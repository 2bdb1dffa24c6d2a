"""A whole round in frozen bytes: another version sends, signs and sums exactly these."""

from __future__ import annotations

import json

import pytest

from ..vectors.secagg.freeze import FILE, rounds  # noqa: TID252 - tests are no package that could be named

FROZEN = json.loads(FILE.read_text())
AGAIN = rounds()


def test_the_same_rounds_are_frozen() -> None:
    assert AGAIN.keys() == FROZEN.keys()


@pytest.mark.parametrize("name", FROZEN)
def test_every_message_of_a_round_is_the_same_bytes(name: str) -> None:
    """To freeze anew after a change of the protocol: see tests/vectors/README.md."""
    assert AGAIN[name] == FROZEN[name]


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_round_has_a_message_of_every_stage(name: str) -> None:
    clients = {key.split(" -> ")[0] for key in FROZEN[name] if key.endswith("-> Advertise")}
    told = ["Roster", "Deals", "Sets", "UnmaskRequest"] + ["Seed"] * ("sums" not in name)
    assert len(clients) in (4, 7)
    for client in clients:
        assert {key for key in FROZEN[name] if key.endswith(f"-> {client}")} == {f"{kind} -> {client}" for kind in told}
        answers = {f"{client} -> answer to {kind}" for kind in told if kind != "Deals"}
        assert answers <= FROZEN[name].keys()
