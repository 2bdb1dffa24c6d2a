"""Step 4: an update becomes bytes. Pure: seeds and secrets are arguments.

Two kinds. In masked rounds every client must speak the same integers, so there is one codec, `chain`, with its
parameters from `plan`; its kernels load LLVM, so nothing here imports it. With `server_sees = "updates"` a codec is
one file and one row of CODECS: `encode(delta)` on the client, `check(payload, size)` once on arrival and then
`decode(payload, start, stop, size=size)` slice by slice on the server, which so never holds a whole update.

Laws (tests/contract/test_codec_room.py): decoding any slice gives that part of the whole; a refused payload raises
RemoteProtocolError before anything is allocated by its size; sizes come from our own Spec; NaN and infinities are
refused on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from roughfed.codec import fp16, identity, int8, top_k

Flat = NDArray[np.float32]
Buffer = bytes | bytearray | memoryview

CHAIN = "lanes"  # the name of `chain` in a round header


class Decode(Protocol):
    """Values start..stop-1 of a payload that `check` has seen."""

    def __call__(self, payload: Buffer, start: int, stop: int, *, size: int) -> Flat:
        """Decode a slice, float32 [stop - start]."""
        ...


@dataclass(frozen=True, slots=True)
class Codec:
    """One row.

    Attributes:
        encode: float32 [D] -> bytes; refuses NaN and infinities with LocalProtocolError.
        check: (payload, D) -> None; refuses malformed payloads with RemoteProtocolError.
        decode: a slice of a checked payload.
        max_bytes: the most bytes of D values: the limit of an upload.
        lossy: whether error feedback is due (residual = delta - decoded).
        sparse: whether most values are not said at all: coordinate-wise rules over clients do not work.
        modes: the values of `privacy.server_sees` that it serves.
    """

    encode: Callable[[Flat], bytes]
    check: Callable[[Buffer, int], None]
    decode: Decode
    max_bytes: Callable[[int], int]
    lossy: bool
    sparse: bool = False
    modes: tuple[str, ...] = ("updates",)


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "fp16": Codec(fp16.encode, fp16.check, fp16.decode, fp16.max_bytes, lossy=True),
        "identity": Codec(identity.encode, identity.check, identity.decode, identity.max_bytes, lossy=False),
        "int8": Codec(int8.encode, int8.check, int8.decode, int8.max_bytes, lossy=True),
        "top-k": Codec(top_k.encode, top_k.check, top_k.decode, top_k.max_bytes, lossy=True, sparse=True),
    }
)
