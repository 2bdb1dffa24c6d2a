"""How kernels are compiled (docs/decisions/0008-numba.md): once per machine, the same result in every run.

Importing this imports numba; only `rotation`, `rounding` and `chain` do, and nothing imports those but a round that
uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function of arrays and numbers at its first call, and keep the machine code on disk.

    The code lies in `__pycache__` beside the source, or in the user's cache folder when that is read-only, or in
    $NUMBA_CACHE_DIR. Where none can be written, every process compiles for itself (a few seconds).

    No `fastmath`: sums are taken in the order of the source, so two machines agree bit for bit. The GIL is released.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    njit = cast("Callable[..., Callable[[Function], Function]]", numba.njit)  # numba comes without types
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": a read-only installation without a home
        return njit(**options)(function)


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """A view for an input that may be a read-only file or not: a kernel is compiled for one of the two only."""
    view = plain(array).view()
    view.flags.writeable = False
    return view


def plain(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """The same memory, also of a mapped file, as the type that kernels are called with.

    For a subclass such as `numpy.memmap` numba searches its table of types, which another thread that loads kernels
    may be filling ("dictionary changed size during iteration"): a client's round was lost to it.
    """
    return np.asarray(array)
