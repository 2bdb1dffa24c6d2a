"""T19 and T22: what the server sees of honest clients says their sum and nothing else, and no machine shows a secret.

The first by counting over lanes of two bits; then over the real machines, where the server may learn no more of two
sets of inputs with one sum than which of two coins was tossed.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from roughfed.crypto.masks import add_mask
from roughfed.errors import RoughfedError
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound
from roughfed.secagg.server import GroupRound

from .scene import STAGES, scene
from .secagg import Round, make_round

MODULUS = 4
SIZE = 4
PAIRS = list(itertools.combinations(range(SIZE), 2))


def views(inputs: Sequence[int], accepted: Sequence[int]) -> Counter[tuple[object, ...]]:
    """Everything that the server holds after one lane, over all masks of the pairs, counted.

    Uploads of all, self masks of the accepted, pair masks of the excluded. A self mask of an accepted client is fixed:
    the server knows it in the end, whatever it is; that of an excluded one is drawn.
    """
    found: Counter[tuple[object, ...]] = Counter()
    gone = [i for i in range(SIZE) if i not in accepted]
    for masks in itertools.product(range(MODULUS), repeat=len(PAIRS)):
        of = dict(zip(PAIRS, masks, strict=True))
        for own in itertools.product(range(MODULUS), repeat=len(gone)):
            selfs = dict(zip(gone, own, strict=True))
            uploads = tuple(
                (inputs[i] + selfs.get(i, 1) + sum(k * ((i == a) - (i == b)) for (a, b), k in of.items())) % MODULUS
                for i in range(SIZE)
            )
            known = tuple(k for pair, k in of.items() if set(pair) & set(gone))
            found[uploads, known] += 1
    return found


@pytest.mark.parametrize("accepted", [(0, 1, 2, 3), (0, 2, 3)])
def test_all_inputs_with_one_sum_look_the_same(accepted: tuple[int, ...]) -> None:
    """T19 by counting: one distribution of views for each sum of the accepted, whatever the excluded sent."""
    by_sum: dict[int, list[Counter[tuple[object, ...]]]] = {}
    for first in range(MODULUS):
        for inputs in ((first, 0, 0, 0), (0, 3, first, 1), (0, 2, 2, first)):
            total = sum(inputs[i] for i in accepted) % MODULUS
            by_sum.setdefault(total, []).append(views(inputs, accepted))
    assert len(by_sum) == MODULUS
    for same in by_sum.values():
        assert len(same) > 1
        assert all(view == same[0] for view in same)
    for one, other in itertools.combinations(by_sum.values(), 2):
        assert one[0] != other[0]


def seen(round_: Round, name: str, outcome_of: GroupRound, codes: np.ndarray) -> np.ndarray:
    """What the server can take off one client's upload in the end: its self mask and the masks of the excluded."""
    assert codes.shape == round_.codes[name].shape
    machine = round_.clients[name]
    lanes = round_.lanes[name].copy()
    keys = machine._own_masks(1)
    add_mask(lanes, keys[0][0], -1)
    excluded = {n for n, _ in outcome_of._sets.excluded} if outcome_of._sets else set()
    for other in sorted(machine._paired & excluded):
        add_mask(lanes, machine._mates[other].pair_key, -1 if name < other else 1)
    return lanes


@pytest.mark.parametrize("bits", [8, 16])
def test_the_machines_leave_a_uniform_mask_on_every_accepted_input(bits: int) -> None:
    """T19 over the machines: all of a sum at one client, and spread over all: what is left on each is even in both.

    Two samples are told apart by chi-square over their high bits; the bound is six standard deviations.
    """
    samples: list[np.ndarray] = []
    for spread in (False, True):
        parts: list[np.ndarray] = []
        for seed in range(4):
            round_ = make_round(7, seed=seed + 10 * spread, bits=bits, length=4096, dim=0)
            for i, codes in enumerate(round_.codes.values()):
                codes[:] = 1 if spread else 6 * (i == 0)  # c06 is excluded
            outcome, group = round_.play({"c06": "defence"})
            assert outcome.total is not None
            parts += [seen(round_, n, group, round_.codes[n]) for n in outcome.accepted]
        samples.append(np.concatenate(parts) >> np.uint8(bits - 8))
    for data in samples:
        counts, expected = np.bincount(data, minlength=256), len(data) / 256
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert abs(chi_square - 255) < 6 * math.sqrt(510)
    counts = np.stack([np.bincount(data, minlength=256) for data in samples])
    both = float(((counts[0] - counts[1]) ** 2 / counts.sum(axis=0)).sum())
    assert abs(both - 255) < 6 * math.sqrt(510)


# -- keys and secrets -------------------------------------------------------------------------------------------------


def keys_of(round_: Round) -> Iterator[bytes]:
    """Every key that a mask is made of, once."""
    for name, machine in round_.clients.items():
        yield machine._own_masks(1)[0][0]
        yield from (mate.pair_key for other, mate in machine._mates.items() if name < other)


def no_key_twice(rounds: int, size: int) -> None:
    keys: list[bytes] = []
    for seed in range(rounds):
        round_ = make_round(size, seed=seed, length=64, dim=0)
        roster = round_.roster(round_.advertise())
        for name in round_.names:
            round_.tell(name, roster)
        keys += keys_of(round_)
    assert len(keys) == rounds * size * (size + 1) // 2
    assert len(set(keys)) == len(keys)


def test_no_two_masks_of_many_rounds_have_one_key() -> None:
    """T18, keys."""
    no_key_twice(30, 5)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_two_masks_of_ten_thousand_rounds_have_one_key() -> None:
    """T18, keys, as long as it says."""
    no_key_twice(10_000, 4)


def secrets_of(machine: ClientRound) -> list[bytes]:
    found = [machine._b, machine._mask.private, machine._sealing.private]
    for mate in machine._mates.values():
        found += [mate.pair_key, mate.out_key, mate.in_key]
    return found + [share for shares in machine._held.values() for share in shares]


def shows(text: str, secret: bytes) -> bool:
    return secret.hex() in text or repr(secret)[2:-1] in text


@pytest.mark.parametrize("stage", STAGES)
def test_neither_repr_nor_errors_nor_logs_show_a_secret(stage: str, caplog: pytest.LogCaptureFixture) -> None:
    """T22: of a machine, of what it refuses, and of the round's log."""
    caplog.set_level(logging.DEBUG)
    made = scene(stage)
    said = [repr(made.me), str(made.me), repr(made.group), caplog.text]
    secrets = secrets_of(made.me)
    for message in (scene(other).honest for other in STAGES if other != stage):
        with pytest.raises(RoughfedError) as caught:
            made.tell(message)
        said += [repr(caught.value), str(caught.value)]
    assert len(secrets) >= 3
    assert not [s for s in secrets for text in said if shows(text, s)]


def test_the_keys_of_a_pair_are_not_told_by_what_is_printed() -> None:
    made = scene("deals")
    assert not [s for s in secrets_of(made.me) if shows(repr([made.me._mask, made.me._sealing]), s)]


def test_what_an_honest_client_sends_has_none_of_its_secrets_in_the_clear() -> None:
    """T22 and T20: over a whole round, whatever is sent: no key, no b, and only shares that were asked for."""
    round_ = make_round(7, length=256, dim=16)
    sent: dict[str, list[bytes]] = {}
    tell = round_.tell

    def noted(name: str, message: m.Message, signed: object = None) -> list[object]:
        answers = tell(name, message, signed)  # pyright: ignore[reportArgumentType]
        sent.setdefault(name, []).extend(a.body for a in answers)
        return answers  # pyright: ignore[reportReturnType]

    round_.tell = noted  # pyright: ignore[reportAttributeAccessIssue]
    outcome, _ = round_.play({"c03": "defence"})
    assert outcome.total is not None
    for name, bodies in sent.items():
        wire, machine = b"".join(bodies), round_.clients[name]
        keys = [machine._b, machine._mask.private, machine._sealing.private]
        keys += [k for mate in machine._mates.values() for k in (mate.pair_key, mate.out_key, mate.in_key)]
        assert not [key for key in keys if key in wire]
        for dealer, (of_b, of_mask) in machine._held.items():
            assert (of_b in wire, of_mask in wire) == (dealer != "c03", dealer == "c03")
