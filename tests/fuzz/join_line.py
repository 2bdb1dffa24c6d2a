"""The join line: read, or refused without a character of its token."""

from __future__ import annotations

from roughfed.crypto.join_line import JoinLine, parse
from roughfed.errors import ConfigError

from .values import D

RUNS = 8000


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        line = parse(text)
    except ConfigError as error:
        said = f"{error} {error.cure}"
    else:
        said = repr(line)
        assert parse(line.reveal()) == line
    token = text.strip().strip("'\"").partition("#")[2]
    assert len(token) < 16 or token not in said


def seeds() -> list[bytes]:
    hosts = ("127.0.0.1", "server.example.org", "::1", "fe80::1")
    modes = ("", "sums", "sketches", "updates")
    return [JoinLine(host, 9444, D, D[::-1], mode).reveal().encode() for host, mode in zip(hosts, modes, strict=True)]
