"""The flat float32 [D] vector: named tensors in, named tensors out, and its file.

A model file is a safetensors file whose tensors lie in Spec order, so that its data section *is* the flat vector:
any safetensors reader opens it, and the server streams it and maps it without a copy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.digest import hasher
from roughfed.errors import RemoteProtocolError, StorageError
from roughfed.files import disk_errors, place_durably
from roughfed.types import Spec

Flat = NDArray[np.float32]

READ_BYTES = 1 << 20  # a size at which the read stays in the cache and the call overhead vanishes


def flatten(named: Mapping[str, NDArray[np.generic]], spec: Spec, out: Flat) -> None:
    """Write named arrays into the flat vector.

    Args:
        named: arrays by name, with the shapes of `spec`; any float type.
        spec: the order.
        out: float32 [D], overwritten.

    Raises:
        RemoteProtocolError: a name is missing or a shape differs (`explain_difference` says which).
    """
    for tensor, where in zip(spec.tensors, spec.slices().values(), strict=True):
        array = named.get(tensor.name)
        if array is None or array.shape != tensor.shape:
            got = "nothing" if array is None else str(array.shape)
            raise RemoteProtocolError(f"tensor {tensor.name}: got {got}, want {tensor.shape}", reason="schema")
        out[where] = array.reshape(-1)


def unflatten(flat: Flat, spec: Spec) -> dict[str, Flat]:
    """Views of the flat vector by name, each in its shape. Writing to a view writes to the vector."""
    if flat.shape != (spec.size,):
        raise RemoteProtocolError(f"flat vector of shape {flat.shape}, want ({spec.size},)", reason="schema")
    return {t.name: flat[where].reshape(t.shape) for t, where in zip(spec.tensors, spec.slices().values(), strict=True)}


def variance_ranges(spec: Spec) -> list[tuple[int, int]]:
    """(start, stop) of the coordinates that must not become negative."""
    places = spec.slices()
    return [(places[t.name].start, places[t.name].stop) for t in spec.tensors if t.kind == "variance"]


def buffer_ranges(spec: Spec) -> list[tuple[int, int]]:
    """(start, stop) of the coordinates that are measured, not learned; variances are among them."""
    places = spec.slices()
    return [(places[t.name].start, places[t.name].stop) for t in spec.tensors if t.kind != "parameter"]


def put_ranges(values: Flat, others: Flat, ranges: Iterable[tuple[int, int]], *, start: int = 0) -> Flat:
    """Take the coordinates of some ranges from another vector, in place.

    Args:
        values: a piece of the flat vector, float32.
        others: the same piece of the other one.
        ranges: (start, stop) in the whole vector.
        start: where the piece begins in it.

    Returns:
        `values`.
    """
    stop = start + len(values)
    for low, high in ranges:
        if low < stop and high > start:
            here = slice(max(low - start, 0), high - start)
            values[here] = others[here]
    return values


def raise_variances(values: Flat, ranges: Iterable[tuple[int, int]], *, start: int = 0) -> Flat:
    """Set negative variances to zero, in place: a step beyond the mean, or a rounded one, must not make one negative.

    Args:
        values: a piece of the flat vector, float32.
        ranges: `variance_ranges` of its Spec.
        start: where the piece begins in the vector.

    Returns:
        `values`.
    """
    stop = start + len(values)
    for low, high in ranges:
        if low < stop and high > start:
            part = values[max(low - start, 0) : high - start]
            np.maximum(part, 0, out=part)
    return values


def explain_difference(ours: Spec, theirs: Spec, *, limit: int = 8) -> list[str]:
    """What differs between a client's Spec and the server's, a sentence a tensor, at most `limit`; empty if equal."""
    here, there = {t.name: t for t in ours.tensors}, {t.name: t for t in theirs.tensors}
    lines = [f"{name}: only the server has it" for name in there if name not in here]
    lines += [f"{name}: only this client has it" for name in here if name not in there]
    for name in here.keys() & there.keys():
        a, b = here[name], there[name]
        if a != b:
            lines.append(f"{name}: here {a.dtype}{list(a.shape)} {a.kind}, server {b.dtype}{list(b.shape)} {b.kind}")
    if not lines and ours != theirs:
        lines = ["the same tensors in another order"]
    more = len(lines) - limit
    return sorted(lines)[:limit] + ([f"and {more} more"] if more > 0 else [])


def model_header(spec: Spec, about: Mapping[str, str] | None = None) -> bytes:
    """The safetensors prefix: 8-byte length and the JSON header, padded so that the data starts at a multiple of 64.

    Args:
        spec: what the data are.
        about: more to say of the file; it is no part of the model's digest.
    """
    entries: dict[str, object] = {"__metadata__": {"roughfed_spec": spec.digest.hex(), **(about or {})}}
    for tensor, where in zip(spec.tensors, spec.slices().values(), strict=True):
        offsets = [4 * where.start, 4 * where.stop]
        entries[tensor.name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    return len(text).to_bytes(8, "little") + text


def data_offset(path: Path) -> int:
    """Where the flat vector starts in a model file.

    Raises:
        StorageError: the file is not a model file, or the disk refused.
    """
    with disk_errors(f"read {path}"), path.open("rb") as file:
        head, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
    if not 2 <= head <= 100_000_000 or size < head + 8:
        raise StorageError(f"{path} is not a model file ({head} bytes of header announced)")
    return head + 8


def write_model(
    path: Path, spec: Spec, pieces: Iterable[bytes | memoryview | Flat], *, about: Mapping[str, str] | None = None
) -> bytes:
    """Write a model file atomically and durably (temporary file, fsync, rename, fsync of the folder).

    Args:
        path: the final place.
        spec: its Spec.
        pieces: consecutive pieces of the flat vector, together 4 D bytes.
        about: see `model_header`.

    Returns:
        BLAKE3 of the flat vector, 32 bytes: the model digest.

    Raises:
        StorageError: the pieces are not 4 D bytes, or the disk refused.
    """
    digest, written = hasher(), 0
    partial = path.with_suffix(".partial")
    try:
        with disk_errors(f"write {path}"), partial.open("wb") as file:
            file.write(model_header(spec, about))
            for piece in pieces:
                view = memoryview(piece).cast("B")
                file.write(view)
                digest.update(view)
                written += view.nbytes
            if written != spec.size_bytes:
                raise StorageError(f"{path}: {written} bytes of parameters, the Spec says {spec.size_bytes}")
            file.flush()
            os.fsync(file.fileno())
        place_durably(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)  # what did not become the file gives its bytes back
    return digest.digest()


def read_flat(path: Path) -> Flat:
    """The flat vector of a model file, float32 [D], mapped read-only (resident only where it is touched)."""
    offset = data_offset(path)
    return np.memmap(path, dtype=np.float32, mode="r", offset=offset)


def digest_file(path: Path, *, offset: int = 0, on_read: Callable[[int], None] | None = None) -> bytes:
    """BLAKE3 of a file from `offset` on, read in pieces (never resident as a whole).

    Raises:
        StorageError: the disk refused.
    """
    digest = hasher()
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    with disk_errors(f"read {path}"), path.open("rb", buffering=0) as file:
        file.seek(offset)
        while count := file.readinto(buffer):
            digest.update(view[:count])
            if on_read is not None:
                on_read(count)
    return digest.digest()
