"""Steps 11 and 12 on files: the round's mean update and the base model become the next model's file.

With a quantised downlink the step is first turned into bytes, and what these bytes say is what is added: the server
goes exactly where a client goes that gets nothing but them (`roughfed.codec.downlink`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from roughfed.codec import downlink
from roughfed.errors import LocalProtocolError, RoundError
from roughfed.files import disk_errors
from roughfed.params import (
    Flat,
    buffer_ranges,
    data_offset,
    put_ranges,
    raise_variances,
    variance_ranges,
    write_model,
)
from roughfed.server.model.downlink import DeltaWriter, NextFiles
from roughfed.server.optimize.adaptive import State, Stepper
from roughfed.server.optimize.state import StateReader, StateWriter
from roughfed.server.storage.slices import Mean, in_order, read_exactly
from roughfed.types import Spec

NOT_FINITE = "the sum of the updates is not finite: values or counts are absurdly large"


class NotFinite(RoundError):
    """The next model would have values that are NaN or infinite."""

    reason = "not-finite"


class VersionSlice(NamedTuple):
    """One slice of the next version; `payload` and `error` are empty when the model is sent whole."""

    params: Flat
    state: State
    payload: bytes = b""
    error: Flat = np.empty(0, dtype=np.float32)


def combine(base: Path, mean: Mean, *, spec: Spec, stepper: Stepper, into: NextFiles, executor: Executor) -> bytes:
    """Write the next model, and what the server optimizer remembers of the way to it.

    Buffers (BatchNorm's running statistics) become the clients' mean, whatever the rule: they are measured, and no
    gradient leads along them.

    Args:
        base: model file of the base parameters.
        mean: (start, stop) -> these coordinates of the mean update, float32; called from several threads.
        spec: the model's Spec.
        stepper: the server optimizer.
        into: where the next model goes, its optimizer's state, and, with a quantised downlink, what it adds to the
            base.
        executor: where the slices are computed.

    Returns:
        digest of the next parameters, 32 bytes.

    Raises:
        StorageError: the disk refused.
        NotFinite: finite updates whose weighted sum is not.
    """
    floors, buffers, offset, delta = variance_ranges(spec), buffer_ranges(spec), data_offset(base), into.delta
    with ExitStack() as stack:
        base_fd = _open(base, stack)
        error_fd = _open(delta.fed_back, stack) if delta is not None and delta.fed_back is not None else None
        before = StateReader(into.state, stepper, stack)

        def next_slice(start: int, stop: int) -> VersionSlice:
            params = np.empty(stop - start, dtype=np.float32)
            read_exactly(base_fd, params, offset + 4 * start)
            with np.errstate(over="ignore", invalid="ignore"):  # `finite` looks at it
                change = mean(start, stop)
                wanted, state = stepper.step(params, change, before.slice(start, stop))
                wanted = put_ranges(wanted, params + change, buffers, start=start) if buffers else wanted
                wanted = raise_variances(wanted, floors, start=start)
                for vector in state:
                    finite(vector)
                if delta is None:
                    return VersionSlice(finite(wanted), state)
                update, error = wanted - params, np.zeros_like(params)
                if error_fd is not None:
                    read_exactly(error_fd, error, 4 * start)
                try:
                    with into.work.time("encode", "int8"):
                        payload = downlink.quantise(update, error)
                except LocalProtocolError:
                    raise NotFinite(NOT_FINITE) from None
                return VersionSlice(
                    finite(raise_variances(np.add(params, update), floors, start=start)), state, payload, error
                )

        with ExitStack() as writers:
            taken = writers.enter_context(StateWriter(into.state))
            added = None if delta is None else writers.enter_context(DeltaWriter(delta, spec.size))
            return write_model(into.model, spec, _noted(in_order(executor, next_slice, spec.size), taken, added))


def finite(values: Flat) -> Flat:
    """The values, if they are numbers.

    Raises:
        NotFinite: one is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise NotFinite(NOT_FINITE)
    return values


def _noted(parts: Iterator[VersionSlice], taken: StateWriter, added: DeltaWriter | None) -> Iterator[Flat]:
    for part in parts:
        taken.append(part.state)
        if added is not None:
            added.append(part.payload, part.error)
        yield part.params


def _open(path: Path, stack: ExitStack) -> int:
    with disk_errors(f"read {path}"):
        fd = os.open(path, os.O_RDONLY)
    stack.callback(os.close, fd)
    return fd
