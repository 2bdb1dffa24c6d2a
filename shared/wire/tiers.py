"""Tiers of clients: values to generated messages and back (proto/v1/federation.proto, ClientTier)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from roughfed.errors import RemoteProtocolError
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.types import MAX_TIERS, TIER_NAME, ClientTier
from roughfed.wire.updates import MAX_NAME, digest_field

MAX_PATTERNS = 64


def tier_messages(tiers: Iterable[ClientTier]) -> list[fed.ClientTier]:
    """Tiers to their generated messages."""
    return [
        fed.ClientTier(
            name=one.name,
            keep_one_in=one.keep_one_in,
            tensors=one.tensors,
            codec=one.codec,
            codec_levels=one.levels,
            codec_lane_bits=one.lane_bits,
            clip_norm=one.clip_norm,
            sketch_dim=one.sketch_dim,
            epoch_round=one.epoch_round,
            epoch_beacon=one.epoch_beacon,
        )
        for one in tiers
    ]


def tier_values(messages: Sequence[fed.ClientTier]) -> tuple[ClientTier, ...]:
    """Generated messages to tiers.

    Raises:
        RemoteProtocolError: too many, a name twice or one that is none, or too many patterns.
    """
    names = {m.name for m in messages}
    if len(messages) > MAX_TIERS or len(names) != len(messages):
        raise RemoteProtocolError(f"{len(messages)} tiers of clients with {len(names)} names", reason="schema")
    found: list[ClientTier] = []
    for m in messages:
        tier_name(m.name)
        if len(m.tensors) > MAX_PATTERNS or any(len(pattern) > MAX_NAME for pattern in m.tensors):
            raise RemoteProtocolError(f"tier {m.name} has {len(m.tensors)} patterns, or long ones", reason="schema")
        found.append(
            ClientTier(
                name=m.name,
                keep_one_in=m.keep_one_in,
                tensors=tuple(m.tensors),
                codec=m.codec[:MAX_NAME],
                levels=m.codec_levels,
                lane_bits=m.codec_lane_bits,
                clip_norm=m.clip_norm,
                sketch_dim=m.sketch_dim,
                epoch_round=m.epoch_round,
                epoch_beacon=digest_field(m.epoch_beacon, "epoch_beacon", empty=True),
            )
        )
    return tuple(found)


def tier_name(text: str, *, empty: bool = False) -> str:
    """A name of a tier from the wire.

    Raises:
        RemoteProtocolError: it is none.
    """
    if not TIER_NAME.fullmatch(text) and not (empty and not text):
        raise RemoteProtocolError(f"a tier of clients called {text[:63]!r}", reason="schema")
    return text
