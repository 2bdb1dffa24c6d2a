"""Kernels: compiled once, kept where nobody else can write, loaded without numba."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from roughfed import kernel
from roughfed.codec import chain, rotation, rounding
from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.errors import ConfigError, LocalProtocolError

DECODE = """
import sys
import numpy as np
from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.codec.rounding import _spread, spread_sums
from roughfed.codec.subset import kept_rows
params = ChainParams(64, plan_lanes(16), 1.0, bytes(32))
mean = spread_sums(np.arange(64, dtype=np.uint8), kept_rows(params), params, num_clients=6)
print(mean.tobytes().hex())
assert 'numba' not in sys.modules
"""

KEPT = "from roughfed import kernel\nkernel._folders = lambda: [kernel.Path(folder) for folder in %r]\n"
"""Keep kernels in these folders alone."""


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


def times(folder: Path) -> dict[str, int]:
    """When each object file was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.o")}


def test_what_needs_no_kernels_does_not_import_llvm() -> None:
    names = ("plan", "downlink", "clip_schedule", "blocks")
    code = "import sys, roughfed.codec\n" + "\n".join(f"import roughfed.codec.{name}" for name in names)
    assert run(code + "\nprint({'numba', 'llvmlite'} & set(sys.modules))") == "set()"


def test_machine_code_is_kept_and_found_again(tmp_path: Path) -> None:
    first = run(KEPT % [str(tmp_path)] + DECODE)
    kept = times(tmp_path)
    assert [name.partition("-")[0] for name in kept] == ["rounding._spread"]
    assert run(KEPT % ["/proc/nowhere", str(tmp_path)] + DECODE) == first
    assert times(tmp_path) == kept  # nothing compiled again


def test_a_folder_of_ones_choice_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/of/the/user")
    beside = Path(kernel.__file__).parent / "__pycache__"
    assert kernel._folders() == [Path("/chosen"), beside, Path("/of/the/user/roughfed/kernels")]


def test_processes_that_start_together_compile_once(tmp_path: Path) -> None:
    told = "import logging, sys; logging.basicConfig(level='INFO', stream=sys.stdout)\n"
    code = told + KEPT % [str(tmp_path)] + DECODE
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda _: run(code), range(3)))
    assert sum("compiling _spread" in text for text in said) == 1


def test_without_a_place_for_it_each_process_compiles_for_itself() -> None:
    assert run(KEPT % ["/proc/nowhere"] + DECODE) == run(DECODE)


def test_what_is_printed_while_it_compiles_is_not_taken_for_code(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello', flush=True)")
    noisy = {"NUMBA_DUMP_OPTIMIZED": "1", "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "kept").mkdir()
    code = KEPT % [str(tmp_path / "kept")] + DECODE
    assert run(code, **noisy) == "hello\n" + run(code)


def test_another_calling_convention_of_numba_is_refused() -> None:
    code = "from roughfed import kernel_compiler as compiler\n"
    code += "compiler.c_types = lambda name, known=compiler.c_types: (*known(name), int)\n"
    code += "import roughfed.codec.rounding as module\n"
    code += "compiler.object_file(module, '_spread', ['|u1:1', '<i8:1', '<f4:1', 'float32', '<i8:1'])\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "calls its functions in another way" in done.stderr.splitlines()[-1]


def test_where_files_look_like_everybodys_the_next_folder_is_used(tmp_path: Path) -> None:
    odd, good = tmp_path / "odd", tmp_path / "good"
    code = KEPT % [str(odd), str(good)] + "write = kernel.write_durably\n"
    code += "seen = lambda path: path.chmod(0o666 if 'odd' in str(path) else 0o644)\n"
    code += "kernel.write_durably = lambda path, data, sync: (write(path, data), seen(path))\n"
    assert run(code + DECODE) == run(DECODE)
    assert len(list(good.glob("*.o"))) == 1


def test_one_kernels_code_is_not_run_under_anothers_name(tmp_path: Path) -> None:
    run(KEPT % [str(tmp_path)] + DECODE)
    (path,) = tmp_path.glob("*.o")
    other = path.rename(path.with_name("rounding._round-0.o"))
    assert kernel._read(other) == b""


def test_who_holds_the_lock_holds_nobody_up_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "WAIT_S", 0.1)
    with kernel._turn(tmp_path) as first, kernel._turn(tmp_path) as second:
        assert (first, second) == (True, True)
    assert (tmp_path / "kernels.lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("harm", ["cut", "changed", "of others"])
def test_a_file_that_is_not_whole_or_that_others_can_write_is_not_run(tmp_path: Path, harm: str) -> None:
    first = run(KEPT % [str(tmp_path)] + DECODE)
    (path,) = tmp_path.glob("*.o")
    whole = path.read_bytes()
    if harm == "of others":
        path.chmod(0o666)
    else:
        path.write_bytes(whole[:-9] if harm == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    assert kernel._read(path) == b""
    assert run(KEPT % [str(tmp_path)] + DECODE) == first
    assert path.read_bytes() == whole
    assert kernel._read(path) == whole[32:]


def test_a_kernel_that_does_not_compile_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_folders", list)
    types = ("<f4:1", "<i8:1", "<f4:1", "<f4:1", "<f4:1")  # codes of float32 are no codes
    with pytest.raises(ConfigError, match="kernel _flip of masked rounds does not compile") as caught:
        kernel._object_file(rotation._flip.function, types)
    assert "numba" in caught.value.cure


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("writable", [True, False])
def test_after_warming_up_a_round_compiles_nothing(bits: int, writable: bool) -> None:
    kernels = (chain._add, rotation._transform, rounding._round, rounding._spread)
    lanes = plan_lanes(10, bits=bits)
    chain.warm(lanes)
    known = [each.loaded() for each in kernels]
    assert all(known)
    delta = np.ones(9001, np.float32)
    delta.setflags(write=writable)
    params = ChainParams(9001, lanes, 1.0, bytes(32), 4)
    encoded = chain.encode(delta, delta, params, secret=bytes(32))
    encoded.codes.setflags(write=writable)
    chain.decode_sum(encoded.codes, 1, params)
    assert [each.loaded() for each in kernels] == known


def test_kernels_work_on_mapped_files(tmp_path: Path) -> None:
    params = ChainParams(64, plan_lanes(16), 1.0, bytes(32))

    def mapped(name: str, size: int, dtype: str = "<f4") -> np.ndarray:
        return np.memmap(tmp_path / name, dtype=dtype, mode="w+", shape=(size,))

    work = mapped("work", params.layout.padded)
    encoded = chain.encode(mapped("delta", 64), mapped("residual", 64), params, secret=bytes(32), work=work)
    sums = mapped("sums", len(encoded.codes), encoded.codes.dtype.str)
    sums[:] = encoded.codes
    chain.decode_sum(sums, 1, params)
    assert np.shares_memory(encoded.residual, work)


def test_what_a_kernel_cannot_work_on_is_refused() -> None:
    run_of = np.ones(64, np.float32)
    words = np.zeros(2, np.uint32)
    rotation._flip(run_of, words)
    with pytest.raises(LocalProtocolError, match="contiguous"):
        rotation._flip(np.ones(128, np.float32)[::2], words)
    with pytest.raises(LocalProtocolError, match="no float"):
        rotation._flip(run_of, 1.0)
    run_of.setflags(write=False)
    with pytest.raises(LocalProtocolError, match="cannot be written"):
        rotation._flip(run_of, words)
