"""Damages real messages, the same way for the same seed. Coverage is the business of `drive.py`; this needs no tool."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

ODD = (
    b"", b"\x00", b"\xff", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\xff" * 10, b"\x7f", b"\x80",
    b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x0f",
    bytes(8), b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
    "\ud800".encode("utf-8", "surrogatepass"), "\N{RIGHT-TO-LEFT OVERRIDE}".encode(), b"\r\n", b"\x00\n",
    b"'", b'"""', b"[[", b"-1", b"1e999", b"9" * 30, b"nan", b"../", b"%00", b"\xef\xbb\xbf",
)  # fmt: skip
"""Numbers at the edges of their types, and pieces that parsers stumble over."""

Damage = Callable[[random.Random, bytearray, bytes], None]


def flip(rng: random.Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)


def put(rng: random.Random, data: bytearray, _: bytes) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def cut(rng: random.Random, data: bytearray, _: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def drop(rng: random.Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 1, 2, 4, 32))]


def insert(rng: random.Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(ODD)


def replace(rng: random.Random, data: bytearray, _: bytes) -> None:
    at, odd = rng.randrange(len(data)), rng.choice(ODD)
    data[at : at + len(odd)] = odd


def repeat(rng: random.Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 64)] * rng.choice((1, 2, 40))


def splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


DAMAGES: tuple[Damage, ...] = (flip, flip, put, put, cut, drop, insert, replace, repeat, splice)


def damaged(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Each seed as it is; then without end one of them with one to five damages."""
    yield from seeds
    rng = random.Random(seed)
    while True:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            if data:
                rng.choice(DAMAGES)(rng, data, rng.choice(seeds))
        yield bytes(data)
