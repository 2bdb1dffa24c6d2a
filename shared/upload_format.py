"""What a client sends of its update where the server sees every one: all of it, or what its tier sends.

A tier with a fraction sends a shared random subset of its coordinates as they are (`codec.picked`), so that the
updates of one tier are rows over the same coordinates, as they are masked. A tier of some tensors sends a vector over
these alone. Both sides work it out from the signed header.

D parameters of the model, d of a tier's tensors, k numbers that are sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.coordinate_subset import picked_places
from roughfed.errors import RemoteProtocolError
from roughfed.tiers import Flat, Places, Ranges, header_for, length_of, named, names_of, ranges_of, tensors_of
from roughfed.types import RoundHeader, Spec

_PICKED = b"roughfed picked v1\0"


@dataclass(frozen=True)
class Sending:
    """What one tier sends.

    Attributes:
        tier: which.
        tensors: patterns of the tensors that it trains.
        ranges: their coordinates in the model.
        keep_one_in: f.
        codec: row of CODECS that the payload is of.
        places: of the numbers that are sent, int64 [k] of 0..d-1, ascending; None: all d.
    """

    tier: str
    tensors: tuple[str, ...]
    ranges: Ranges
    keep_one_in: int
    codec: str
    places: Places | None

    @property
    def length(self) -> int:
        """Coordinates of the tensors, d."""
        return length_of(self.ranges)

    @property
    def size(self) -> int:
        """Numbers that are sent, k."""
        return self.length if self.places is None else len(self.places)

    def taken(self, delta: NDArray[np.float32]) -> Flat:
        """What is sent of a delta, float32 [d] -> [k]."""
        return delta if self.places is None else np.ascontiguousarray(delta[self.places])


def sending_of(header_digest: bytes, header: RoundHeader, spec: Spec) -> Sending:
    """What a tier sends in a round.

    Args:
        header_digest: of the header as it was signed.
        header: as the tier reads it (`tiers.header_for`).
        spec: of the model.

    Raises:
        RemoteProtocolError: reason "class"; the tier trains nothing of this model.
    """
    tensors = tensors_of(header)
    ranges = ranges_of(spec, tensors)
    if not ranges:
        raise RemoteProtocolError(f"{named(header.tier)} trains no tensor of this model", reason="class")
    keep_one_in = max(1, header.keep_one_in)
    places = None
    if keep_one_in > 1:
        seed = hashlib.sha256(_PICKED + header_digest + "\0".join(tensors).encode()).digest()
        places = picked_places(length_of(ranges), keep_one_in, seed)
        if not len(places):
            raise RemoteProtocolError(f"{named(header.tier)} would send nothing", reason="class")
    return Sending(header.tier, tensors, ranges, keep_one_in, header.codec, places)


def sendings_of(header_digest: bytes, header: RoundHeader, spec: Spec) -> dict[str, Sending]:
    """What each tier of a round sends, by name."""
    return {name: sending_of(header_digest, header_for(header, name), spec) for name in names_of(header)}
