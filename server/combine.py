"""Steps 11 and 12 on files: the accepted updates and the base model become the next model's file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from roughfed.errors import RoundError
from roughfed.params import Flat, data_offset, write_model
from roughfed.server.aggregate.mean import in_order, mean_slice, open_all, read_exactly
from roughfed.types import Spec


class NotFinite(RoundError):
    """The next model would have values that are NaN or infinite."""

    reason = "not-finite"


Step = Callable[[Flat, Flat], Flat]


def combine(
    base: Path, updates: Sequence[tuple[Path, float]], *, spec: Spec, step: Step, out: Path, executor: Executor
) -> bytes:
    """Write the next model.

    Args:
        base: model file of the base parameters.
        updates: (bare float32 [D] file, weight), in order of the clients' names; at least one weight above zero.
        spec: the model's Spec.
        step: the server optimizer on a slice, (params, delta) -> params'.
        out: where the next model goes.
        executor: where the slices are computed.

    Returns:
        digest of the next parameters, 32 bytes.

    Raises:
        StorageError: the disk refused.
        NotFinite: finite updates whose weighted sum is not.
    """
    floors = variance_ranges(spec)
    offset = data_offset(base)
    with ExitStack() as stack:
        files = open_all([base, *(path for path, _ in updates)])
        for fd in files:
            stack.callback(os.close, fd)
        base_fd, *update_fds = files
        weights = [weight for _, weight in updates]

        def next_slice(start: int, stop: int) -> Flat:
            params = np.empty(stop - start, dtype=np.float32)
            read_exactly(base_fd, params, offset + 4 * start)
            with np.errstate(over="ignore", invalid="ignore"):  # looked at once, below
                result = step(params, mean_slice(update_fds, weights, start, stop))
            if not np.isfinite(result).all():
                raise NotFinite("the sum of the updates is not finite: values or counts are absurdly large")
            for low, high in floors:  # a step beyond the mean must not make a variance negative
                if low < stop and high > start:
                    part = result[max(low - start, 0) : high - start]
                    np.maximum(part, 0, out=part)
            return result

        return write_model(out, spec, in_order(executor, next_slice, spec.size))


def variance_ranges(spec: Spec) -> list[tuple[int, int]]:
    """(start, stop) of the coordinates that must not become negative."""
    places = spec.slices()
    return [(places[t.name].start, places[t.name].stop) for t in spec.tensors if t.kind == "variance"]
