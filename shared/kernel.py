"""Kernels: loops over arrays as machine code (docs/decisions/0008-numba.md), the same result in every run.

numba compiles a kernel once per machine, in a process of its own (`kernel_compiler`); what comes out is an object file.
Who runs the kernel loads that file with LLVM alone: 30 ms and 6 MiB, where numba takes 0.6 s and 50 MiB for as long as
the process lives. Object files lie in $NUMBA_CACHE_DIR, in `__pycache__` beside this source, or in the user's cache
folder, the first that can be written. Where none can, every process has its kernels compiled (a few seconds).
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roughfed.digest import DIGEST_BYTES, content_digest
from roughfed.errors import ConfigError, LocalProtocolError, StorageError
from roughfed.files import write_durably

if TYPE_CHECKING:
    from collections.abc import Generator

log = logging.getLogger(__name__)

ELF = b"\x7fELF"
"""What an object file begins with."""

WAIT_S = 120.0
"""For another process that compiles."""

SYMBOL = "roughfed_kernel"
"""What the function is called in its object file."""

_FREES = "NRT_MemInfo_call_dtor"  # numba's, for arrays that a kernel owns; ours own none

_SCALARS: dict[type, Any] = {bool: ctypes.c_bool, int: ctypes.c_int64, np.float32: ctypes.c_float}

_loading = threading.Lock()


class Kernel:
    """A function of C-contiguous arrays and numbers (bool, int, numpy.float32); it returns nothing.

    It is compiled for the types that it is called with. The GIL is released while it runs. No `fastmath`: sums are
    taken in the order of the source, so two machines agree bit for bit.

    Attributes:
        function: the source, for the compiler and for whoever wants to read it.
    """

    def __init__(self, function: Callable[..., None], writes: Sequence[str]) -> None:
        """A kernel that has not been loaded yet; `writes` names the arrays that it changes."""
        self.function = function
        names = list(inspect.signature(function).parameters)
        self._written = [names.index(name) for name in writes]
        self._loaded: dict[tuple[str, ...], Callable[..., int]] = {}
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any) -> None:
        """Run it.

        Raises:
            LocalProtocolError: an array that is not contiguous, or one to be written that cannot be; another type.
            ConfigError: it cannot be compiled here.
        """
        for at in self._written:
            if not args[at].flags.writeable:
                raise LocalProtocolError(f"argument {at} of {self.function.__name__} cannot be written")
        types = tuple(map(_type_of, args))
        code = self._loaded.get(types) or self._load(types)
        flat: list[object] = []
        for arg in args:
            flat += (arg,) if type(arg) in _SCALARS else _as_struct(arg)
        nothing, error = ctypes.c_void_p(), ctypes.c_void_p()
        if code(ctypes.byref(nothing), ctypes.byref(error), *flat):
            raise LocalProtocolError(f"{self.function.__name__} failed")

    def loaded(self) -> frozenset[tuple[str, ...]]:
        """The types that it was loaded for."""
        return frozenset(self._loaded)

    def _load(self, types: tuple[str, ...]) -> Callable[..., int]:
        with _loading:
            if types not in self._loaded:
                address = _link(_object_file(self.function, types))
                arguments = [ctypes.c_void_p, ctypes.c_void_p, *(c for name in types for c in c_types(name))]
                self._loaded[types] = ctypes.CFUNCTYPE(ctypes.c_int32, *arguments)(address)
            return self._loaded[types]


def kernel(*, writes: Sequence[str]) -> Callable[[Callable[..., None]], Kernel]:
    """Make a kernel of a function that changes the arrays of these names."""
    return lambda function: Kernel(function, writes)


def _type_of(arg: Any) -> str:
    """The name of a type, for the compiler, too: `<f4:1` is a float32 array of one dimension."""
    if isinstance(arg, np.ndarray):
        if not arg.flags.c_contiguous:
            raise LocalProtocolError("kernels take contiguous arrays")
        return f"{arg.dtype.str}:{arg.ndim}"
    if type(arg) not in _SCALARS:
        raise LocalProtocolError(f"kernels take no {type(arg).__name__}")
    return type(arg).__name__


def c_types(name: str) -> tuple[Any, ...]:
    """How an argument of a type is passed."""
    for scalar, c_type in _SCALARS.items():
        if name == scalar.__name__:
            return (c_type,)
    ndim = int(name.rpartition(":")[2])
    whole, pointer = ctypes.c_int64, ctypes.c_void_p
    return (pointer, pointer, whole, whole, pointer, *[whole] * (2 * ndim))


def _as_struct(array: np.ndarray[Any, Any]) -> tuple[object, ...]:
    """An array as numba's compiled functions take it: no owner, then size, address, shape and strides in bytes."""
    address = array.__array_interface__["data"][0]
    return (None, None, array.size, array.itemsize, address, *array.shape, *array.strides)


@cache
def _llvm() -> Any:
    """LLVM without numba, ready to load machine code."""
    import llvmlite.binding as llvm

    with suppress(RuntimeError):  # newer ones need no call, and say so by an error
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    never = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    llvm.add_symbol(_FREES, never)
    return llvm


_engines: list[Any] = []  # machine code lives as long as its engine


def _link(code: bytes) -> int:
    """Load an object file; the address of its kernel."""
    llvm = _llvm()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(SYMBOL))


def _object_file(function: Callable[..., None], types: tuple[str, ...]) -> bytes:
    """The kernel's machine code for these types: found, or compiled and kept where it can be read again."""
    key = _key(function, types)
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{key}.o"
    for folder in _folders():
        if code := _read(folder / name):
            return code
    code = b""
    for folder in _folders():
        with _turn(folder) as mine:
            if not mine:
                continue
            if found := _read(folder / name):  # another process was faster
                return found
            code = code or _compile(function, types)
            with suppress(StorageError):
                write_durably(folder / name, _digest(name, code) + code, sync=False)
            if _read(folder / name):  # not where a file system shows everything as everybody's
                return code
    return code or _compile(function, types)


def processor() -> tuple[str, str]:
    """Name and features of this machine's, for LLVM."""
    llvm = _llvm()
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM does not know it
        features = ""
    return llvm.get_host_cpu_name(), features


def _key(function: Callable[..., None], types: tuple[str, ...]) -> str:
    """What the machine code depends on: the sources, the types, numba, LLVM and the processor."""
    llvm = _llvm()
    sources = [Path(__file__), Path(__file__).with_name("kernel_compiler.py"), Path(inspect.getfile(function))]
    seen = hashlib.sha256()
    made_by = (metadata.version("numba"), str(llvm.llvm_version_info), llvm.get_process_triple(), *processor())
    for text in (*types, function.__qualname__, *made_by):
        seen.update(text.encode() + b"\0")
    for source in sources:
        seen.update(source.read_bytes())
    return seen.hexdigest()[:32]


def _folders() -> list[Path]:
    """Where object files may lie, in the order of preference."""
    own = os.environ.get("XDG_CACHE_HOME") or (Path.home() / ".cache" if _has_home() else "")
    named = os.environ.get("NUMBA_CACHE_DIR")
    folders = [named, Path(__file__).with_name("__pycache__"), Path(own) / "roughfed" / "kernels" if own else None]
    return [Path(folder) for folder in folders if folder]


def _has_home() -> bool:
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


@contextmanager
def _turn(folder: Path) -> Generator[bool]:
    """Be the only process that keeps object files in a folder: one compiles, the others wait, but not for ever.

    False where nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        fd = os.open(folder / "kernels.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    waiting = threading.Thread(target=_wait_for, args=(fd,), daemon=True)
    waiting.start()
    waiting.join(WAIT_S)
    try:
        yield True
    finally:
        if not waiting.is_alive():  # else it still needs the descriptor
            os.close(fd)


def _wait_for(fd: int) -> None:
    with suppress(OSError):  # a file system without locks
        flock(fd, LOCK_EX)


def _read(path: Path) -> bytes:
    """The machine code in a file; empty where there is none that is whole and of somebody who is trusted with code.

    These are whoever owns this source, root, and the account that the process runs as.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            data = file.read() if stat.S_ISREG(status.st_mode) else b""
        trusted = {0, os.geteuid(), Path(__file__).stat().st_uid}
    except OSError:
        return b""
    if status.st_uid not in trusted or status.st_mode & 0o022:
        log.warning("%s is not used: other accounts can write it", path)
        return b""
    digest, code = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    return code if _digest(path.name, code) == digest else b""


def _digest(name: str, code: bytes) -> bytes:
    """Of code under its name: one kernel's must not stand under another's."""
    return content_digest(name.encode() + b"\0" + code)


def _compile(function: Callable[..., None], types: tuple[str, ...]) -> bytes:
    """Compile in a process of its own, which takes numba and its memory along when it ends.

    Raises:
        ConfigError: numba cannot do it.
    """
    log.info("compiling %s once for this machine", function.__name__)
    module = "roughfed.kernel_compiler"
    # What numba or a start-up file prints is no code, and what people set for their own numba does not count.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    with tempfile.TemporaryFile() as out:
        fd = out.fileno()
        command = [
            sys.executable,
            "-P",
            "-m",
            module,
            str(fd),
            function.__module__,
            function.__name__,
            json.dumps(types),
        ]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[fd],
            env=environment,
            check=False,
        )
        out.seek(0)
        code = out.read()
    if done.returncode or not code.startswith(ELF):
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ConfigError(
            f"the kernel {function.__name__} of masked rounds does not compile: {last[:200]}",
            cure="pip install --force-reinstall numba llvmlite numpy",
        )
    return code
