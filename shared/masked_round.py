"""What a masked round is, as it follows from its signed header: both sides build the same from the same bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.clip_schedule import clip_share
from roughfed.codec.plan import ChainParams, Lanes, check_lanes, clip_sigmas
from roughfed.errors import RemoteProtocolError
from roughfed.secagg.groups import ALONE, LARGEST
from roughfed.secagg.statistics import Statistic, read_statistics, tail_lanes
from roughfed.secagg.terms import Terms
from roughfed.sketch.buckets import Sketcher
from roughfed.tiers import (
    STANDARD,
    Ranges,
    bound_digest,
    header_for,
    length_of,
    named,
    names_of,
    ranges_of,
    tensors_of,
)
from roughfed.types import RoundHeader, Signed, Spec

MAX_EPOCH = 10
"""Rounds for which groups may stay as they are."""

MAX_DIM = 4096

CODES_A_NUMBER = 4
"""Codes that are sent for each number of a sketch, at least: a sketch of nearly as many would be the update itself."""

_CHAIN = b"roughfed chain v1\0"
_OWN = b"roughfed own row v1\0"


@dataclass(frozen=True, slots=True)
class Masking:
    """The public side of one masked round, as one tier of clients plays it.

    Attributes:
        terms: what the machines of `roughfed.secagg` are given.
        params: the codec.
        statistics: what rides behind the codes.
        tier: whose it is, of the tiers of clients.
        ranges: the coordinates of the model that these clients send of.
    """

    terms: Terms
    params: ChainParams
    statistics: tuple[Statistic, ...]
    tier: str = STANDARD
    ranges: Ranges = ()

    @property
    def upload_bytes(self) -> int:
        """Length of an upload."""
        return self.terms.lanes * self.terms.dtype.itemsize


def largest_group(cohort: int) -> int:
    """The most clients that one group can have, of a cohort of so many."""
    return cohort if cohort <= ALONE else LARGEST


def maskings_of(signed: Signed, header: RoundHeader, *, spec: Spec, server_key: bytes) -> tuple[Masking, ...]:
    """Work out a masked round for all its tiers of clients, the standard one first.

    Raises:
        RemoteProtocolError: a header that no round can have, or a tier that sends nothing of this model.
    """
    found: list[Masking] = []
    for name in names_of(header):
        as_tier = header_for(header, name)
        ranges = ranges_of(spec, tensors_of(as_tier))
        if not ranges:
            raise RemoteProtocolError(f"{named(name)} trains no tensor of this model", reason="class")
        own = masking_of(signed, as_tier, size=length_of(ranges), server_key=server_key)
        found.append(replace(own, ranges=ranges))
    return tuple(found)


def masking_of(signed: Signed, header: RoundHeader, *, size: int, server_key: bytes) -> Masking:
    """Work out a masked round.

    Args:
        signed: the header as it was signed.
        header: the same, decoded, as one tier of clients reads it (`roughfed.tiers.header_for`).
        size: coordinates that the tier sends of, D: those of the model, or of the tensors that it trains.
        server_key: Ed25519 key of the server.

    Raises:
        RemoteProtocolError: a header that no round can have.
    """
    sees = header.server_sees == "sketches"
    epoch_rounds = header.round - header.epoch_round
    problems = (
        (not header.masked, "the round is not masked"),
        (sees != bool(header.sketch_dim), f"server_sees = {header.server_sees} with sketches of {header.sketch_dim}"),
        (header.sketch_dim % 2 == 1 or not 0 <= header.sketch_dim <= MAX_DIM, f"{header.sketch_dim} buckets"),
        (len(header.nonce_commitment) != 32, "no commitment to the nonce of the groups"),
        (not 0 <= epoch_rounds < MAX_EPOCH, f"groups drawn in round {header.epoch_round}, this is {header.round}"),
        (bool(epoch_rounds) != bool(header.epoch_beacon), "a beacon where groups are drawn anew, or none where not"),
    )
    for wrong, sentence in problems:
        if wrong:
            raise RemoteProtocolError(sentence, reason="header")
    lanes = check_lanes(1, header.levels, header.lane_bits)  # whether a sum fits is asked when the group is known
    digest = bound_digest(signed.digest, header.tier)
    scope = "\0".join(tensors_of(header)).encode()  # those that send the same tensors share a rotation
    seed = hashlib.sha256(_CHAIN + signed.digest + scope).digest()
    share = clip_share(sketches=sees, keep_one_in=header.keep_one_in)
    params = ChainParams(size, lanes, header.clip_norm, seed, header.keep_one_in, share)
    if header.sketch_dim * CODES_A_NUMBER > (told := min(params.sent, size)):  # the rotation pads: that tells nothing
        raise RemoteProtocolError(f"{header.sketch_dim} buckets for {told} codes", reason="header")
    statistics = read_statistics(header.statistics, header.levels)
    terms = Terms(
        header_digest=digest,
        previous_header_digest=header.previous_header_digest,
        nonce_commitment=header.nonce_commitment,
        server_key=server_key,
        length=params.sent,
        bits=lanes.bits,
        levels=lanes.levels,
        code_rms=code_rms(lanes),
        dim=header.sketch_dim,
        tail=tail_lanes(statistics),
        epoch_beacon=header.epoch_beacon,
        tier=1 + names_of(header).index(header.tier),
    )
    return Masking(terms, params, statistics, header.tier, ((0, size),))


def sketch_of_update(delta: NDArray[np.float32], params: ChainParams, sketcher: Sketcher) -> NDArray[np.float64]:
    """What the sketch of an update would claim if a client had sent it: clipped, rotated, rounded, sketched.

    For rows of the server's own, of which nothing is masked: the dither follows from the round's public seed.

    Args:
        delta: float32 [D]; not changed.
        params: the round's codec.
        sketcher: the round's S.

    Returns:
        float64 [dim] (`Sketcher.claim`).

    Raises:
        LocalProtocolError: another shape or type, or an update that is not finite.
    """
    from roughfed.codec.chain import codes_of  # the kernels: loaded where there is something to encode

    codes = codes_of(delta, params, secret=hashlib.sha256(_OWN + params.seed).digest())
    return sketcher.claim(sketcher.of_codes(codes))


def code_rms(lanes: Lanes) -> float:
    """Root mean square of the centred codes of an update of norm C: one deviation of a rotated coordinate in steps."""
    return (lanes.levels - 1) / (2 * clip_sigmas(lanes.levels))
