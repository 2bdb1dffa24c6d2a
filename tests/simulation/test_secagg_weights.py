"""Public weight classes: sums stay exact, the mean is the weighted one, and nobody gains by a smaller weight."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from roughfed.codec.chain import decode_sum, encode
from roughfed.codec.plan import ChainParams, Lanes
from roughfed.errors import RemoteProtocolError
from roughfed.masked_round import Masking, code_rms
from roughfed.secagg.adverts import Gives
from roughfed.secagg.client import ClientRound
from roughfed.secagg.roster import make_cohort
from roughfed.secagg.server import PROOF_BOUND
from roughfed.secagg.terms import Party
from roughfed.server.masked.stages import MaskedRound, ServerSide
from roughfed.sketch.buckets import NORM_BOUND

from .secagg import SERVER, Round, StageWire, identity, make_round, member_entry, nonce, open_entry

D = 4000
CLASSES = (4, 1, 3, 4, 2, 4, 1, 3)


def weighted_round(
    size: int = 8, *, dim: int = 64, seed: int = 0, norm: float = 0.7, quarters: tuple[int, ...] = CLASSES
) -> tuple[Round, ChainParams, dict[str, np.ndarray], dict[str, int]]:
    """Clients with updates of `norm` times C, each sent with its weight class as the codec sends it."""
    bare = make_round(size, seed=seed, dim=dim)
    lanes = Lanes(bare.terms.bits, bare.terms.levels)
    params = ChainParams(D, lanes, 2.0, bytes(32))
    terms = replace(bare.terms, length=params.sent, code_rms=code_rms(lanes))
    rng = np.random.default_rng(seed)
    deltas = {name: rng.normal(size=D).astype(np.float32) for name in bare.names}
    deltas = {name: d * np.float32(norm * params.clip_norm / np.linalg.norm(d)) for name, d in deltas.items()}
    weights = {name: quarters[at % len(quarters)] for at, name in enumerate(bare.names)}
    codes, clients = {}, {}
    for name in bare.names:
        secret = hashlib.sha256(f"{name} {seed}".encode()).digest()
        codes[name] = encode(deltas[name], None, params, secret=secret, weight=weights[name] / 4).codes
        party = Party(name, identity(name).sign, open_entry, StageWire())
        clients[name] = ClientRound(terms, party, secret, bare.policy, gives=Gives(quarters=weights[name]))
    cohort = make_cohort([machine.advert for machine in clients.values()])
    return replace(bare, terms=terms, codes=codes, clients=clients, cohort=cohort), params, deltas, weights


@pytest.mark.parametrize("dim", [0, 64])
@pytest.mark.parametrize("fate", ["all stay", "lost and rejected"])
def test_the_mean_is_the_weighted_one_of_who_counts(dim: int, fate: str) -> None:
    round_, params, deltas, weights = weighted_round(dim=dim)
    out = {"c03": "defence", "c06": "defence"} if fate != "all stay" else {}
    round_.lost = {"masked_input": {"c01"}} if fate != "all stay" else {}
    outcome, _ = round_.play(out)
    assert (outcome.proofs, outcome.total is not None) == ({}, True)
    assert set(outcome.accepted) == set(round_.names) - out.keys() - (round_.lost.get("masked_input") or set())
    np.testing.assert_array_equal(outcome.total, round_.plain_sum(outcome.accepted))
    weight = sum(weights[name] for name in outcome.accepted) / 4
    mean = decode_sum(outcome.total, len(outcome.accepted), params, weight=weight)
    wanted = sum(deltas[name] * weights[name] / 4 for name in outcome.accepted) / weight
    noise = params.step * np.sqrt(len(outcome.accepted)) / weight  # of one coordinate, from rounding
    assert np.abs(mean - wanted).max() < 4 * noise


def test_rows_of_all_weights_compare() -> None:
    """The same update at norm C has the same length in the view, whatever its weight, rounding included."""
    lengths: dict[int, list[float]] = {q: [] for q in (1, 2, 3, 4)}
    for seed in range(6):
        round_, _, _, weights = weighted_round(16, seed=seed, norm=1.0, dim=256, quarters=(1, 2, 3, 4))
        _, group = round_.play()
        for name, halves in group.norms().items():
            lengths[weights[name]].append(halves[0])
    means = {quarters: float(np.mean(found)) for quarters, found in lengths.items()}
    assert max(means.values()) / min(means.values()) < 1.06
    assert all(max(found) < NORM_BOUND for found in lengths.values())


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_small_weight_buys_no_more_of_the_sum(quarters: int) -> None:
    """What the bound lets into the sum shrinks with the weight; one that claims 1/4 and sends a full C is proved."""
    round_, params, deltas, _ = weighted_round(dim=256, quarters=(quarters, 4))
    largest = NORM_BOUND * round_.terms.relative_length(quarters)
    assert largest < NORM_BOUND
    assert largest / (quarters / 4) < 1.4 * NORM_BOUND  # the room for rounding
    delta = deltas["c00"] * np.float32(1 / 0.7)
    round_.codes["c00"] = encode(delta, None, params, secret=bytes(32), weight=1.0).codes
    outcome, group = round_.play()
    assert "c00" not in outcome.accepted or quarters == 3
    norm = max(group.norms()["c00"])
    assert outcome.proofs == ({"c00": "over-bound"} if norm > PROOF_BOUND else {})
    assert norm > 1 / round_.terms.relative_length(quarters) * 0.8


@pytest.mark.parametrize("offered", [False, True])
def test_a_server_takes_a_weight_only_where_it_offers_one(offered: bool) -> None:
    round_, params, _, _ = weighted_round(4, quarters=(4, 4, 4, 3))
    server = ServerSide(SERVER.sign, open_entry, nonce(0))
    whole = MaskedRound([Masking(round_.terms, params, ())], frozenset(round_.names), server, offered)
    refused: dict[str, str] = {}
    for name, machine in round_.clients.items():
        try:
            whole.take("advertise", machine.advert, member_entry(name))
        except RemoteProtocolError as error:
            refused[name] = error.reason
    assert refused == ({} if offered else {"c03": "weight"})
    assert whole.quarters(["c00"]) == {"c00": 4}
