"""Garbage of many clients: each piece has its reason, its sender is told, and the model has no trace of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.crypto.identity import IdentityKey
from roughfed.digest import content_digest
from roughfed.errors import RemoteProtocolError, RoughfedError
from roughfed.types import Receipt, Signed, UpdateStatement
from roughfed.wire.session import decode_header
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement

from . import rig
from .masked_rig import MaskedRig, masking_of_row
from .rig import SPEC, Rig, newest
from .test_defence_groups import deltas_of

HONEST = tuple(f"a{i}" for i in range(6))
HOSTILE = tuple(f"b{i}" for i in range(4))
"""Four of ten, 40 %."""

SIZE = 4 * SPEC.size
NAN, HUGE = np.full(SPEC.size, np.nan, "<f4").tobytes(), np.full(SPEC.size, 1e30, "<f4").tobytes()
ZEROS = bytes(SIZE)

GARBAGE: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "nan": (NAN, {}, "not-finite"),
    "infinite": (np.full(SPEC.size, -np.inf, "<f4").tobytes(), {}, "not-finite"),
    "huge": (HUGE, {}, "magnitude"),
    "a value too few": (ZEROS[4:], {}, "schema"),
    "a value too many": (ZEROS + bytes(4), {}, "size"),
    "nothing": (b"", {}, "schema"),
    "cut short": (ZEROS[: SIZE // 2], {"size_bytes": SIZE}, "truncated"),
    "other bytes": (ZEROS, {"digest": bytes(32)}, "digest"),
    "no examples": (ZEROS, {"num_examples": 0}, "count"),
    "examples without end": (ZEROS, {"num_examples": 2**62}, "count"),
    "another round's statement": (ZEROS, {"header_digest": bytes(32)}, "header"),
    "another's statement": (ZEROS, {"client": HONEST[0]}, "identity"),
    "a statistic nobody asked for": (ZEROS, {"statistics": {"examples": (1,)}}, "statistics"),
    "a weight nobody offered": (ZEROS, {"quarters": 1}, "weight"),
}
"""What is sent -> the bytes, what is said of them that is not so, and the reason."""


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Six honest clients that trained something, and four that did not; what those hear while they send."""
    heard: dict[str, str] = {}
    done: list[str] = []
    rng = np.random.default_rng(0)
    for at, name in enumerate((*HONEST, *HOSTILE)):
        monkeypatch.setitem(rig.KEYS, name, IdentityKey.from_private_bytes(bytes([at + 9]) * 32))
        monkeypatch.setitem(rig.DELTAS, name, rng.normal(1, 0.1, SPEC.size).astype("<f4"))

    async def work(self: Rig, session: Any, job: Any, behaviour: str) -> None:
        if behaviour == "honest":
            await self._upload(session.name, job.header, rig.DELTAS[session.name])
            return
        data, lies, _ = GARBAGE[behaviour]
        try:
            await put(self, session.name, job.header, data, lies)
        except RoughfedError as error:
            heard[session.name] = error.reason
        done.append(session.name)
        await until_the_honest_are_done(self, done)

    monkeypatch.setattr(Rig, "_work", work)
    return heard


async def until_the_honest_are_done(rig_: Rig, done: list[str]) -> None:
    """Then the time is up: whoever broke a rule could have tried again until then."""
    ctx, collection = rig_.ctx, rig_.ctx.state.collection
    assert collection is not None
    changed = ctx.state.watch()
    while not set(HONEST) <= collection.received:
        await changed.wait()
        changed.clear()
    if {*HONEST, *done} == collection.members:
        collection.deadline = time.monotonic()
        ctx.state.wake()


async def put(rig_: Rig, name: str, header: Signed, data: bytes, lies: dict[str, Any]) -> None:
    """Send some bytes, and lie about them."""
    said = {"client": name, "header_digest": header.digest, "digest": content_digest(data), "size_bytes": len(data)}
    said |= {"num_examples": 10} | lies
    statement = UpdateStatement(run="run-1", round=decode_header(header.body).round, **said)
    body = encode_statement(statement)
    upload = await rig_.ctx.intake.begin(name, Signed(body, rig.KEYS[name].sign(UPDATE_DOMAIN, body), ""))
    if isinstance(upload, Receipt):
        raise RemoteProtocolError("received before")
    if data:
        await rig_.ctx.intake.write(name, upload, offset=0, data=memoryview(data))
    await rig_.ctx.intake.finish(name, upload)


KINDS = list(GARBAGE)
MIXED = [KINDS[at : at + 4] for at in range(0, len(KINDS), 4)]


RULES = ["none", "multi-krum", "median", "norm-bound"]


@pytest.mark.parametrize(("rule", "kinds"), list(zip(RULES, MIXED, strict=True)), ids=RULES)
def test_the_model_is_bit_for_bit_that_of_the_others(
    tmp_path: Path, told: dict[str, str], rule: str, kinds: list[str]
) -> None:
    """Whatever the rule, which sees none of it."""
    sent = dict(zip(HOSTILE, kinds, strict=False))
    defence = {"rule": rule} | ({"f": 1} if rule != "none" else {})
    options: dict[str, Any] = {"quorum": 6, "defence": defence}
    row, with_them = played(tmp_path / "with", sent, **options)
    alone, _ = played(tmp_path / "alone", {}, **options)
    assert row.accepted == alone.accepted
    assert (newest(tmp_path / "with")[1] == newest(tmp_path / "alone")[1]).all()
    reasons = {name: GARBAGE[kind][2] for name, kind in sent.items()}
    assert {name: (row.sets or {})[name] for name in sent} == reasons
    assert {name: with_them.closed[name].reason for name in sent} == reasons
    assert {with_them.closed[name].verdict for name in sent} == {"excluded"}
    assert told == {name: why for name, why in reasons.items() if why != "magnitude"}  # at once, what can be known then


def played(folder: Path, sent: dict[str, str], **options: Any) -> Any:
    async def play(rig_: Rig) -> Any:
        return await rig_.play(sent, (*HONEST, *sent))

    return rig._scene(folder, play, **options)


def test_a_claim_of_many_examples_counts_as_three_medians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GARBAGE, "boasts", (rig.DELTAS["b0"].tobytes(), {"num_examples": 2**39}, ""))
    played(tmp_path, {"b0": "boasts"}, quorum=7)
    rows = [rig.DELTAS[name].astype(np.float64) for name in (*HONEST, "b0")]
    np.testing.assert_allclose(newest(tmp_path)[1], np.average(rows, axis=0, weights=[1] * 6 + [3]), rtol=1e-6)


MASKED = {
    "sketches": ({"c00": "other", "c01": "noise"}, {"c00": ("digest",), "c01": ("norm", "long")}),
    "sums": ({"c00": "other", "c01": "other"}, {"c00": ("digest",), "c01": ("digest",)}),
}
"""Mode -> who sends what, and why it is not in the sum. Codes drawn at random are 1.5 C long, and a sketch of them
looks longer than the bound or shorter; in either case it is too long."""


@pytest.mark.parametrize("sees", MASKED)
def test_behind_masks_the_model_is_bit_for_bit_the_sum_of_the_others(tmp_path: Path, sees: str) -> None:
    """Two of nine. All that the others' codes follow from is known here: their sum is made again without the two."""
    garbage, reasons = MASKED[sees]
    settings = {"privacy": {"server_sees": sees}, "round": {"quorum": 7}}
    masked = MaskedRig(tmp_path, deltas_of(9, attack=False), settings=settings, garbage=garbage)
    row = masked.play()
    assert row.sets is not None
    assert all(row.sets[name] in why for name, why in reasons.items())
    left_out = {name: why for name, why in row.sets.items() if why}
    assert left_out == {name: masked.closed[name].reason for name in reasons}
    np.testing.assert_array_equal(newest(tmp_path)[1], masked.mean(row.accepted, masking_of_row(row)))
