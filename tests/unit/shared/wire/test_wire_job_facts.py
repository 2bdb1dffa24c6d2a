"""Facts on the wire: the same float64 on the other side, and nothing that a client should not have to hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import RemoteProtocolError
from roughfed.wire.job_facts import MAX_BYTES, MAX_FACTS, MAX_NUMBERS, decode_facts, encode_facts
from roughfed.wire.session import job_digest

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(max_size=20), st.lists(finite, max_size=6).map(tuple), max_size=4))
def test_facts_come_back_as_they_were_and_bind_the_same_digest(facts: dict[str, tuple[float, ...]]) -> None:
    back = decode_facts(encode_facts(facts))
    assert back == facts
    assert job_digest({}, evaluate=True, facts=back) == job_digest({}, evaluate=True, facts=facts)


def test_each_number_of_a_fact_is_bound_by_the_header() -> None:
    digests = {
        job_digest({"lr": 0.1}, evaluate=evaluate, facts=facts)
        for evaluate in (True, False)
        for facts in ({}, {"a": (1.0,)}, {"a": (1.0, 0.0)}, {"a": (1.0 + 2**-52,)}, {"b": (1.0,)})
    }
    assert len(digests) == 10
    assert job_digest({}, evaluate=True) == job_digest({}, evaluate=True, facts={})
    assert job_digest({}, evaluate=True, facts={"a": (1,)}) == job_digest({}, evaluate=True, facts={"a": (1.0,)})


HOSTILE = {
    "no JSON": "{",
    "no object": "[1.0]",
    "no list": '{"a":1.0}',
    "text": '{"a":["1"]}',
    "truth": '{"a":[true]}',
    "nothing": '{"a":[null]}',
    "NaN": '{"a":[NaN]}',
    "infinite": '{"a":[Infinity]}',
    "beyond float64": '{"a":[1e999]}',
    "a very long integer": '{"a":[1' + "0" * 400 + "]}",
    "an absurdly long integer": '{"a":[1' + "0" * 5000 + "]}",
    "deep": '{"a":' + "[" * 5000 + "]" * 5000 + "}",
    "a long name": '{"' + "a" * 65 + '":[1]}',
    "too many numbers": '{"a":[' + ",".join(["1"] * (MAX_NUMBERS + 1)) + "]}",
    "too many facts": "{" + ",".join(f'"{n}":[]' for n in range(MAX_FACTS + 1)) + "}",
    "too many characters": '{"a":[1]' + " " * MAX_BYTES + "}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_facts_are_refused(what: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_facts(HOSTILE[what])
