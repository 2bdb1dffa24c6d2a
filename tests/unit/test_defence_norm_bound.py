"""The norm bound: strictly above, in the view's own unit, nothing scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roughfed.errors import LocalProtocolError
from roughfed.server.defence.norm_bound import norm_bound
from roughfed.server.defence.view import view_of_claims, view_of_files
from roughfed.sketch.buckets import NORM_BOUND


def test_sketches_are_bound_in_units_of_c() -> None:
    unit = 40.0  # norm of the codes at norm C
    length, dim = 6400, 64
    one = np.full(dim, unit / np.sqrt(length))  # a claim of norm exactly C
    claims = {"at": NORM_BOUND * 0.9999 * one, "far": -1.51 * one, "huge": 1e6 * one, "zero": 0 * one}
    seen = view_of_claims(claims, length=length, norm_unit=unit)
    assert norm_bound(seen, limit=NORM_BOUND) == {"far": "norm", "huge": "norm"}


def test_updates_are_bound_by_what_the_caller_knows(tmp_path: Path) -> None:
    rows = {"a": [3.0, 4.0], "b": [-3.0, -4.1], "c": [0.0, 5.0]}
    for name, row in rows.items():
        (tmp_path / name).write_bytes(np.array(row, dtype="<f4").tobytes())
    seen = view_of_files({name: tmp_path / name for name in rows}, size=2)
    assert norm_bound(seen, limit=5.0) == {"b": "norm"}  # a norm of exactly the limit is let through
    assert norm_bound(seen, limit=4.9).keys() == rows.keys()
    assert norm_bound(seen, limit=100.0) == {}


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bound_that_binds_nobody_or_everybody_is_refused(limit: float) -> None:
    with pytest.raises(LocalProtocolError, match="norm bound"):
        norm_bound(view_of_claims({"a": np.ones(4)}, length=8, norm_unit=1.0), limit=limit)
