"""Masks: the key stream of AES-256-CTR (NIST SP 800-38A), read as lanes and added to a vector modulo 2^w.

One key makes one stream, from a counter of zero: keys are fresh for a round (`agreement.derive`), so no nonce is
needed. Byte i of the stream masks byte i of the vector as it goes over the wire: lanes are little-endian.

D lanes, P positions. A mask is never stored: it is made 256 KiB at a time in a reused buffer, while the lanes that it
is added to stay in the processor's cache. A mask is also read at scattered lanes only, by its counter blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import DTypeLike, NDArray

from roughfed.crypto.agreement import KEY_BYTES
from roughfed.errors import LocalProtocolError

Sign = Literal[1, -1]
Lanes = NDArray[np.unsignedinteger[Any]]

CHUNK_BYTES = 256 * 1024

_BLOCK_BYTES = 16
_LANE_BYTES = (1, 2, 4)
_ZEROS = bytes(CHUNK_BYTES)  # encrypting zeros gives the key stream itself


def add_mask(lanes: Lanes, key: bytes, sign: Sign, *, first_lane: int = 0) -> None:
    """Add (+1) or take away (-1) one mask in place; see `sum_masks`."""
    sum_masks(lanes, [(key, sign)], first_lane=first_lane)


def sum_masks(lanes: Lanes, masks: Sequence[tuple[bytes, Sign]], *, first_lane: int = 0) -> None:
    """Add all masks in place, lane by lane modulo 2^w.

    The order of the masks does not matter, nor does cutting the vector in pieces: the work may be spread over threads
    by passing slices with their `first_lane`.

    Args:
        lanes: uint8, uint16 or uint32 [D], contiguous and writable; w is the width of its type.
        masks: 32-byte keys, each with +1 to add its mask or -1 to take it away.
        first_lane: where `lanes` begins in the whole vector.

    Raises:
        LocalProtocolError: another type or shape, a key of another length, a sign that is none.
    """
    _check_lanes(lanes)
    start = first_lane * lanes.itemsize
    streams = [(_stream(key, start), _operation(sign)) for key, sign in masks]
    raw = np.empty(CHUNK_BYTES, dtype=np.uint8)
    mask = raw.view(lanes.dtype)
    source, target = memoryview(_ZEROS), memoryview(raw)
    step = CHUNK_BYTES // lanes.itemsize
    for at in range(0, len(lanes), step):
        part = lanes[at : at + step]
        for stream, operation in streams:
            stream.update_into(source[: part.nbytes], target)
            operation(part, mask[: len(part)], out=part)  # wraps mod 2^w
    raw.fill(0)


class MaskReader:
    """Reads masks at fixed places without making the rest of them: the places once, then key after key."""

    def __init__(self, positions: NDArray[np.int64], dtype: DTypeLike) -> None:
        """Prepare the counter blocks.

        Args:
            positions: lanes of the whole vector, int64 [P], in any order, repeats allowed.
            dtype: type of the lanes: uint8, uint16 or uint32.

        Raises:
            LocalProtocolError: another type or shape, or a negative position.
        """
        self._dtype = _lane_type(dtype)
        if positions.ndim != 1 or positions.dtype != np.int64:
            raise LocalProtocolError(f"positions {positions.dtype} {positions.shape}, want int64 [P]")
        if len(positions) and positions.min() < 0:
            raise LocalProtocolError(f"position {positions.min()}: want 0 or above")
        per_block = _BLOCK_BYTES // self._dtype.itemsize
        counters = np.zeros((len(positions), 2), dtype=">u8")  # [P, 2]: 128-bit big-endian
        counters[:, 1] = positions // per_block
        self._blocks = counters.tobytes()
        self._places = np.arange(len(positions)) * per_block + positions % per_block  # [P]

    def read(self, key: bytes) -> Lanes:
        """The mask of `key` at the positions, [P].

        Raises:
            LocalProtocolError: not a 32-byte key.
        """
        # CTR is ECB over the counters: every block stands for itself, and none is ever a message.
        encryptor = Cipher(_aes(key), modes.ECB()).encryptor()  # noqa: S305
        stream = np.frombuffer(encryptor.update(self._blocks), dtype=self._dtype)
        return stream[self._places]


def lanes_at(key: bytes, positions: NDArray[np.int64], dtype: DTypeLike) -> Lanes:
    """The mask of `key` at some lanes only, [P]; for many keys and the same lanes use `MaskReader`."""
    return MaskReader(positions, dtype).read(key)


def _stream(key: bytes, start: int) -> CipherContext:
    """The key stream from byte `start` on."""
    block, within = divmod(start, _BLOCK_BYTES)
    if block < 0:
        raise LocalProtocolError(f"a mask from byte {start}: want 0 or above")
    stream = Cipher(_aes(key), modes.CTR(block.to_bytes(_BLOCK_BYTES, "big"))).encryptor()
    stream.update(_ZEROS[:within])
    return stream


def _aes(key: bytes) -> algorithms.AES:
    if len(key) != KEY_BYTES:  # AES alone would take 16 and 24 bytes too
        raise LocalProtocolError(f"a mask key of {len(key)} bytes, want {KEY_BYTES}")
    return algorithms.AES(key)


def _operation(sign: Sign) -> np.ufunc:
    if sign not in (1, -1):
        raise LocalProtocolError(f"sign {sign!r}, want 1 or -1")
    return np.add if sign == 1 else np.subtract


def _check_lanes(lanes: Lanes) -> None:
    _lane_type(lanes.dtype)
    if lanes.ndim != 1 or not lanes.flags.c_contiguous or not lanes.flags.writeable:
        raise LocalProtocolError(f"lanes of shape {lanes.shape}: want a writable contiguous vector")


def _lane_type(dtype: DTypeLike) -> np.dtype[np.unsignedinteger[Any]]:
    kind = np.dtype(dtype)
    if kind.kind != "u" or kind.itemsize not in _LANE_BYTES or kind != kind.newbyteorder("<"):
        raise LocalProtocolError(f"lanes of type {kind}, want uint8, uint16 or uint32, little-endian")
    return cast("np.dtype[np.unsignedinteger[Any]]", kind)
