"""Steps 11 and 12 on files: the round's mean update and the base model become the next model's file.

With a quantised downlink the step is first turned into bytes, and what these bytes say is what is added: the server
goes exactly where a client goes that gets nothing but them (`roughfed.codec.downlink`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from roughfed.codec import downlink
from roughfed.errors import RoundError
from roughfed.files import disk_errors
from roughfed.params import Flat, data_offset, raise_variances, variance_ranges, write_model
from roughfed.server.aggregate.mean import Mean, in_order, read_exactly
from roughfed.server.downlink import DeltaWriter, NextFiles
from roughfed.types import Spec


class NotFinite(RoundError):
    """The next model would have values that are NaN or infinite."""

    reason = "not-finite"


Step = Callable[[Flat, Flat], Flat]


class Part(NamedTuple):
    """One slice of the next version; `payload` and `error` are empty when the model is sent whole."""

    params: Flat
    payload: bytes = b""
    error: Flat = np.empty(0, dtype=np.float32)


def combine(base: Path, mean: Mean, *, spec: Spec, step: Step, into: NextFiles, executor: Executor) -> bytes:
    """Write the next model.

    Args:
        base: model file of the base parameters.
        mean: (start, stop) -> these coordinates of the mean update, float32; called from several threads.
        spec: the model's Spec.
        step: the server optimizer on a slice, (params, delta) -> params'.
        into: where the next model goes, and, with a quantised downlink, what it adds to the base.
        executor: where the slices are computed.

    Returns:
        digest of the next parameters, 32 bytes.

    Raises:
        StorageError: the disk refused.
        NotFinite: finite updates whose weighted sum is not.
    """
    floors, offset, delta = variance_ranges(spec), data_offset(base), into.delta
    with ExitStack() as stack:
        base_fd = _open(base, stack)
        error_fd = _open(delta.fed_back, stack) if delta is not None and delta.fed_back is not None else None

        def next_slice(start: int, stop: int) -> Part:
            params = np.empty(stop - start, dtype=np.float32)
            read_exactly(base_fd, params, offset + 4 * start)
            with np.errstate(over="ignore", invalid="ignore"):  # `finite` looks at it
                wanted = raise_variances(step(params, mean(start, stop)), floors, start=start)
                if delta is None:
                    return Part(finite(wanted))
                update, error = wanted - params, np.zeros_like(params)
                if error_fd is not None:
                    read_exactly(error_fd, error, 4 * start)
                finite(update + error)
                payload = downlink.quantise(update, error)
                return Part(finite(raise_variances(np.add(params, update), floors, start=start)), payload, error)

        parts = in_order(executor, next_slice, spec.size)
        if delta is None:
            return write_model(into.model, spec, (part.params for part in parts))
        with DeltaWriter(delta, spec.size) as writer:
            return write_model(into.model, spec, _noted(parts, writer))


def finite(values: Flat) -> Flat:
    """The values, if they are numbers.

    Raises:
        NotFinite: one is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise NotFinite("the sum of the updates is not finite: values or counts are absurdly large")
    return values


def _noted(parts: Iterator[Part], writer: DeltaWriter) -> Iterator[Flat]:
    for part in parts:
        writer.append(part.payload, part.error)
        yield part.params


def _open(path: Path, stack: ExitStack) -> int:
    with disk_errors(f"read {path}"):
        fd = os.open(path, os.O_RDONLY)
    stack.callback(os.close, fd)
    return fd
