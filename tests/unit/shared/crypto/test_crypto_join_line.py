"""The join line: frozen form, exact errors, and a secret that no error shows."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.crypto.join_line import JoinLine, parse
from roughfed.errors import ConfigError
from roughfed.mode import MODES

SECRET = bytes(range(32))
LINE = JoinLine("fed.example.org", 9444, SECRET, bytes(range(32, 64)))
TOKEN = "AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"


def test_vector() -> None:
    assert LINE.reveal() == f"fed.example.org:9444#{TOKEN}"
    assert parse(f"fed.example.org:9444#{TOKEN}") == LINE
    assert LINE.command() == f"ROUGHFED_JOIN='fed.example.org:9444#{TOKEN}' roughfed join"


def test_vector_with_a_mode() -> None:
    line = replace(LINE, server_sees="sketches")
    token = "AgIAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_"
    assert line.reveal() == f"fed.example.org:9444#{token}"
    assert parse(line.reveal()) == line
    assert parse(LINE.reveal()).server_sees == ""  # of an older server


@given(
    st.sampled_from(["a", "10.0.0.7", "fed_1.example.org", "::1", "2001:db8::7"]),
    st.integers(1, 65535),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(["", *MODES]),
)
def test_what_is_revealed_is_parsed(host: str, port: int, secret: bytes, fingerprint: bytes, mode: str) -> None:
    line = JoinLine(host, port, secret, fingerprint, mode)
    assert parse(f" '{line.reveal()}'\n") == line


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no '#'"),
        (f"host:1{TOKEN}", "no '#'"),
        (f"host#{TOKEN}", "not HOST:PORT"),
        (f"host:#{TOKEN}", "not HOST:PORT"),
        (f"host:x1#{TOKEN}", "not HOST:PORT"),
        (f"host:0#{TOKEN}", "port 0"),
        (f"host:65536#{TOKEN}", "port 65536"),
        (f":1#{TOKEN}", "neither a name"),
        (f"ho st:1#{TOKEN}", "neither a name"),
        (f"a..b:1#{TOKEN}", "neither a name"),
        (f"h';rm:1#{TOKEN}", "neither a name"),
        (f"{'a' * 64}:1#{TOKEN}", "neither a name"),
        (f"::1:1#{TOKEN}", "brackets"),
        (f"[host]:1#{TOKEN}", "brackets"),
        (f"[::zz]:1#{TOKEN}", "not an IPv6"),
        (f"host:1#{TOKEN[:-1]}", "86 characters, want 87"),
        (f"host:1#{TOKEN}=", "outside"),
        (f"host:1#{TOKEN[:-2]}+8", "outside"),
        (f"host:1#{TOKEN[:-1]}9", "last character"),
        (f"host:1#B{TOKEN[1:]}", "version 5"),
        (f"host:1#Ag{TOKEN[2:]}", "87 characters, want 88"),
        (f"host:1#AgQA{TOKEN[3:]}", "names no mode"),
        (f"host:1#AgAA{TOKEN[3:]}", "names no mode"),
        ("host:1#", "0 characters"),
    ],
)
def test_every_error_names_its_cause_and_no_secret(text: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert cause in str(caught.value)
    assert caught.value.key == "ROUGHFED_JOIN"
    assert "roughfed invite" in caught.value.cure
    shown = f"{caught.value} {caught.value.cure} {caught.value!r} {caught.value.__cause__}"
    assert not re.search(TOKEN[3:12], shown)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(("secret", "fingerprint"), [(b"short", bytes(32)), (bytes(32), bytes(31))])
def test_lengths_are_checked_when_made(secret: bytes, fingerprint: bytes) -> None:
    with pytest.raises(ConfigError, match="want 32 and 32"):
        JoinLine("host", 1, secret, fingerprint)


def test_neither_repr_nor_str_shows_the_secret() -> None:
    for shown in (repr(LINE), str(LINE), f"{LINE}"):
        assert str(SECRET) not in shown
        assert SECRET.hex() not in shown
        assert TOKEN not in shown
        assert "fed.example.org" in shown
