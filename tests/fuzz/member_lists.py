"""Lists of members, signed lists, and who asks for them."""

from __future__ import annotations

from dataclasses import replace

from roughfed.crypto.member_list import ListedMember, MemberList
from roughfed.wire import member_list as wire

from .laws import Way, read, seeds_of
from .values import D

RUNS = 6000
WAYS = (
    Way(lambda data: replace(wire.decode_list(data), digest=b""), wire.encode_list),  # of what is unknown in it, too
    Way(wire.decode_signed, lambda value: wire.encode_signed(*value)),
    Way(wire.decode_get_members, wire.encode_get_members),
    Way(wire.decode_list_request, lambda value: wire.encode_list_request(*value)),
)


def fuzz(data: bytes) -> None:
    read(WAYS, data)


def seeds() -> list[bytes]:
    members = (ListedMember("alpha", D, 1 << 31, "north"), ListedMember("server", D, 1 << 31, server=True))
    body = wire.encode_list(MemberList("fuzz", 7, D, 1 << 30, 1 << 31, members))
    return seeds_of(
        (0, body),
        (1, wire.encode_signed(body, [(b"", bytes(70)), (D, bytes(64))])),
        (2, wire.encode_get_members(D)),
        (3, wire.encode_list_request(b"", 1 << 30, bytes(64))),
    )
