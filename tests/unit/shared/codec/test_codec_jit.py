"""numba: only where it is used, and with or without a place for its cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import dispatcher

from roughfed.codec import chain, rotation, rounding
from roughfed.codec.plan import ChainParams, plan_lanes

DECODE = """
import numpy as np
from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.codec.rounding import _spread, spread_sums
from roughfed.codec.subset import kept_rows
params = ChainParams(64, plan_lanes(16), 1.0, bytes(32))
mean = spread_sums(np.arange(64, dtype=np.uint8), kept_rows(params), params, num_clients=6)
print(mean.tobytes().hex())
"""


def run(code: str, **environment: str) -> str:
    """Run in a process of its own; its standard output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_needs_no_kernels_does_not_import_numba() -> None:
    names = ("plan", "downlink", "clip_schedule", "blocks")
    code = "import sys, roughfed.codec\n" + "\n".join(f"import roughfed.codec.{name}" for name in names)
    assert run(code + "\nprint('numba' in sys.modules)") == "False"


def test_machine_code_is_kept_and_found_again(tmp_path: Path) -> None:
    first = run(DECODE, NUMBA_CACHE_DIR=str(tmp_path))
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    assert any(name.startswith("rounding._spread") for name in kept)
    assert run(DECODE, NUMBA_CACHE_DIR=str(tmp_path)) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == kept  # nothing compiled again


def test_without_a_place_for_it_each_process_compiles_for_itself() -> None:
    nowhere = "from numba.core.caching import CacheImpl\nCacheImpl._locator_classes = []\n"
    check = "\nassert not _spread.stats.cache_path"
    assert run(nowhere + DECODE + check) == run(DECODE)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("writable", [True, False])
def test_after_warming_up_a_round_compiles_nothing(bits: int, writable: bool) -> None:
    kernels = (chain._add, rotation._transform, rounding._round, rounding._spread)
    lanes = plan_lanes(10, bits=bits)
    chain.warm(lanes)
    known = [kernel.signatures for kernel in kernels]
    delta = np.ones(9001, np.float32)
    delta.setflags(write=writable)
    params = ChainParams(9001, lanes, 1.0, bytes(32), 4)
    encoded = chain.encode(delta, delta, params, secret=bytes(32))
    encoded.codes.setflags(write=writable)
    chain.decode_sum(encoded.codes, 1, params)
    assert [kernel.signatures for kernel in kernels] == known


def test_kernels_are_handed_plain_arrays_of_mapped_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba searches its table of types for any other, while a thread that loads kernels may be filling it."""
    params = ChainParams(64, plan_lanes(16), 1.0, bytes(32))
    looked_up: list[type] = []
    typeof = dispatcher.typeof

    def spy(value: object, purpose: object) -> object:
        looked_up.append(type(value))
        return typeof(value, purpose)

    monkeypatch.setattr(dispatcher, "typeof", spy)

    def mapped(name: str, size: int, dtype: str = "<f4") -> np.ndarray:
        return np.memmap(tmp_path / name, dtype=dtype, mode="w+", shape=(size,))

    work = mapped("work", params.layout.padded)
    encoded = chain.encode(mapped("delta", 64), mapped("residual", 64), params, secret=bytes(32), work=work)
    sums = mapped("sums", len(encoded.codes), encoded.codes.dtype.str)
    sums[:] = encoded.codes
    chain.decode_sum(sums, 1, params)
    assert set(looked_up) <= {np.ndarray, float, int, bool}
    assert np.shares_memory(encoded.residual, work)
