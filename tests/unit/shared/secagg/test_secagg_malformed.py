"""T16: whatever a peer sends, a machine takes it or refuses it with an error of its own; it never crashes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roughfed.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import State
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage, encode_stage
from tests.simulation.scene import ME, OTHER, STAGES, Scene, scene
from tests.simulation.secagg import make_round

REFUSED = (RemoteProtocolError, IdentityError)
PATIENT = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DOMAINS: dict[type, bytes] = {
    m.Shares: m.SHARES_DOMAIN,
    m.Opening: m.OPENING_DOMAIN,
    m.Sketch: m.SKETCH_DOMAIN,
    m.Consistency: m.CONSISTENCY_DOMAIN,
    m.Unmask: m.UNMASK_DOMAIN,
}


def bent(value: Any, draw: st.DataObject) -> Any:
    """A value like this one with one place changed: another length, another number, another name, an item twice."""
    match value:
        case bool():
            return not value
        case int():
            return draw.draw(st.integers(0, 2**32 - 1))
        case str():
            return draw.draw(st.sampled_from(["", "zz", ME, OTHER, "c" * 300, "\x00", "ß"]))
        case bytes():
            how = draw.draw(st.sampled_from(["flip", "empty", "longer", "shorter"]))
            flipped = value[:-1] + bytes([value[-1] ^ 1]) if value else b"x"
            return {"flip": flipped, "empty": b"", "longer": value + b"x", "shorter": value[:-1]}[how]
        case tuple():
            if not value or draw.draw(st.booleans()):
                return draw.draw(st.sampled_from([value[1:], value + value[:1], value[::-1], ()]))
            at = draw.draw(st.integers(0, len(value) - 1))
            return (*value[:at], bent(value[at], draw), *value[at + 1 :])
        case _ if is_dataclass(value) and not isinstance(value, type):
            name = draw.draw(st.sampled_from([f.name for f in fields(value)]))
            return replace(value, **{name: bent(getattr(value, name), draw)})
    raise AssertionError(type(value))


def over_the_wire(message: m.Message) -> m.Message | None:
    """As it would arrive; None where it does not even decode, or could not be written."""
    with suppress(RemoteProtocolError, LocalProtocolError, ValueError):
        return decode_stage(type(message), encode_stage(message))
    return None


@pytest.mark.parametrize("stage", STAGES)
@PATIENT
@given(data=st.data())
def test_a_client_takes_or_refuses_what_a_server_bends(stage: str, data: st.DataObject) -> None:
    made = scene(stage, size=4 if stage == "roster" else 7)
    message = made.honest
    for _ in range(data.draw(st.integers(1, 3))):
        message = bent(message, data)
    if (message := over_the_wire(message)) is None:
        return
    before = made.me.state
    try:
        made.tell(message)
    except REFUSED:
        assert made.me.state is State.OUT
    else:
        assert made.me.state is not before


def ready_to_take(kind: type) -> tuple[Scene, m.Message]:
    """A group that waits for this kind of message, and a true one."""
    made = scene({m.Shares: "roster", m.Sketch: "seed", m.Opening: "deals"}.get(kind, "unmask"))
    if kind is m.Unmask:
        made.group.unmask_request()
    if kind is m.Opening:
        header = made.group._terms.header_digest
        return made, m.Opening(header, "sealing", OTHER, made.me._mates[OTHER].in_key)
    answer = made.tell(made.honest)[0]
    return made, decode_stage(kind, answer.body)


TAKES = {
    m.Shares: "take_shares",
    m.Opening: "take_opening",
    m.Sketch: "take_sketch",
    m.Unmask: "take_unmask",
    m.Consistency: "take_consistency",
}


@pytest.mark.parametrize("kind", [m.Shares, m.Opening, m.Sketch, m.Unmask])
@PATIENT
@given(data=st.data())
def test_a_group_takes_or_refuses_what_a_client_bends(kind: type, data: st.DataObject) -> None:
    made, true = ready_to_take(kind)
    message = true
    for _ in range(data.draw(st.integers(1, 3))):
        message = bent(message, data)
    if (message := over_the_wire(message)) is None:
        return
    with suppress(*REFUSED):
        getattr(made.group, TAKES[kind])(made.sign(ME, DOMAINS[kind], message))
    if kind is m.Unmask:  # whatever it answered, the group ends and names nobody else
        lanes = np.zeros(made.group._terms.lanes, made.group._terms.dtype)
        outcome = made.group.finish(lambda _: lanes)
        assert outcome.total is None
        assert outcome.proofs.keys() <= {ME}


@pytest.mark.parametrize("kind", TAKES)
@PATIENT
@given(body=st.binary(max_size=80), signer=st.sampled_from([ME, OTHER, "zz", ""]), data=st.data())
def test_a_group_refuses_any_bytes_at_any_stage(kind: type, body: bytes, signer: str, data: st.DataObject) -> None:
    made = scene(data.draw(st.sampled_from(STAGES[1:])))
    with suppress(*REFUSED):
        getattr(made.group, TAKES[kind])(Signed(body, bytes(64), signer))
        raise AssertionError("an unsigned message was taken")
    with suppress(*REFUSED):
        signed = made.sign(ME, DOMAINS[kind], m.Consistency(bytes(32)))
        getattr(made.group, TAKES[kind])(replace(signed, body=body))
        raise AssertionError("other bytes than those that were signed were taken")


def test_an_opening_before_anything_is_dealt_is_the_peers_fault() -> None:
    made = scene("roster")
    opening = m.Opening(made.group._terms.header_digest, "pair", OTHER, bytes(32))
    with pytest.raises(RemoteProtocolError):
        made.group.take_opening(made.sign(ME, m.OPENING_DOMAIN, opening))


BAD_CODES = {
    "one lane short": lambda codes, _: codes[1:],
    "one lane more": lambda codes, _: np.append(codes, codes[:1]),
    "two dimensions": lambda codes, _: codes.reshape(2, -1),
    "signed": lambda codes, _: codes.astype(np.int8),
    "wider": lambda codes, _: codes.astype(np.uint16),
    "floats": lambda codes, _: codes.astype(np.float32),
    "a code above the range": lambda codes, levels: np.where(np.arange(len(codes)) == 3, levels, codes).astype(
        np.uint8
    ),
    "nothing": lambda codes, _: codes[:0],
}


@pytest.mark.parametrize("name", BAD_CODES)
def test_codes_of_another_shape_type_or_range_are_never_masked(name: str) -> None:
    round_ = make_round(4, length=64, dim=0)
    roster = round_.roster(round_.advertise())
    shares = [round_.tell(client, roster)[0] for client in round_.names]
    machine = round_.clients["c00"]
    machine.receive(m.Deals(tuple(shares)))
    with pytest.raises(LocalProtocolError):
        machine.mask(BAD_CODES[name](round_.codes["c00"], round_.terms.levels))
    assert machine.state is State.READY
    machine.mask(round_.codes["c00"])


@pytest.mark.parametrize("name", ["one lane short", "one lane more", "two dimensions", "signed", "wider", "nothing"])
def test_masked_bytes_of_another_shape_are_never_resumed(name: str) -> None:
    round_ = make_round(4, length=64, dim=0)
    roster = round_.roster(round_.advertise())
    shares = [round_.tell(client, roster)[0] for client in round_.names]
    machine = round_.clients["c00"]
    machine.receive(m.Deals(tuple(shares)))
    with pytest.raises(LocalProtocolError):
        machine.resume(BAD_CODES[name](np.zeros(64, np.uint8), 0))
    assert machine.state is State.READY
