"""Files of a server optimizer's state: bare float32 [D] vectors, one with the model that they led to.

They are named by the version and the rule. By the version, because the state of one must stand until the next is
committed: a server that dies in between takes the same step again from it. By the rule, because what one rule kept
means nothing to another.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from roughfed.files import disk_errors, place_durably
from roughfed.server.optimize.adaptive import State, Stepper
from roughfed.server.storage.slices import read_exactly

log = logging.getLogger(__name__)

MARK = ".opt-"
"""What the suffix of every such file begins with."""


@dataclass(frozen=True, slots=True)
class StateFiles:
    """Where the state behind a version is written, and that behind the version before it is read.

    Attributes:
        written: until the version has its place.
        named: afterwards.
        before: empty where the rule begins.
    """

    written: tuple[Path, ...] = ()
    named: tuple[Path, ...] = ()
    before: tuple[Path, ...] = ()

    def place(self) -> None:
        """Give the files of the version their names.

        Raises:
            StorageError: the disk refused.
        """
        for written, named in zip(self.written, self.named, strict=True):
            place_durably(written, named)


NO_STATE = StateFiles()


def state_files(folder: Path, version: int, stepper: Stepper, *, base: int, first: bool) -> StateFiles:
    """The files of a version's state; those of the version that it is made from count together or not at all.

    Args:
        folder: of the models.
        version: that is made.
        stepper: the rule.
        base: the version that it is made from.
        first: whether that one is nobody's step.
    """
    endings = [f"{MARK}{stepper.name}-{name}" for name in stepper.rule.keeps]
    before = tuple(folder / f"{base:08d}{ending}" for ending in endings)
    if not all(path.exists() for path in before):
        if not first:
            log.warning("%s begins anew at version %d: it did not make the one before", stepper.name, version)
        before = ()
    return StateFiles(
        tuple(folder / f"next{ending}" for ending in endings),
        tuple(folder / f"{version:08d}{ending}" for ending in endings),
        before,
    )


def is_state(path: Path) -> bool:
    """Whether a file of the models' folder is one of these."""
    return path.suffix.startswith(MARK)


def state_of(path: Path, version: int) -> bool:
    """Whether it belongs to a version."""
    return is_state(path) and path.stem == f"{version:08d}"


class StateReader:
    """Reads slices of the state of the version before; from several threads at once."""

    def __init__(self, files: StateFiles, stepper: Stepper, stack: ExitStack) -> None:
        """Open the files; `stack` closes them.

        Raises:
            StorageError: one is gone.
        """
        self._stepper = stepper
        self._fds: list[int] = []
        for path in files.before:
            with disk_errors(f"read {path}"):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            self._fds.append(fd)

    def slice(self, start: int, stop: int) -> State:
        """The coordinates start .. stop, float32 [stop - start] each; where there is no file, how the rule begins.

        Raises:
            StorageError: a file is too short.
        """
        state = self._stepper.begin(stop - start)
        for fd, vector in zip(self._fds, state, strict=bool(self._fds)):
            read_exactly(fd, vector, 4 * start)
        return state


class StateWriter:
    """Writes the next state slice by slice; durable once the block is left without an error, gone after one."""

    def __init__(self, files: StateFiles) -> None:
        """Nothing is opened yet."""
        self._files = files
        self._stack = ExitStack()

    def __enter__(self) -> StateWriter:
        """Begin the files anew.

        Raises:
            StorageError: the disk refused.
        """
        with disk_errors("write the optimizer's state"), ExitStack() as stack:
            self._open = [stack.enter_context(path.open("wb", buffering=0)) for path in self._files.written]
            self._stack = stack.pop_all()
        return self

    def append(self, state: State) -> None:
        """The next slice.

        Raises:
            StorageError: the disk refused.
        """
        with disk_errors("write the optimizer's state"):
            for file, vector in zip(self._open, state, strict=True):
                view = memoryview(np.ascontiguousarray(vector)).cast("B")
                while view:
                    view = view[file.write(view) :]

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        """Sync the files, or delete them.

        Raises:
            StorageError: the disk refused.
        """
        with self._stack:
            if kind is None:
                with disk_errors("write the optimizer's state"):
                    for file in self._open:
                        os.fsync(file.fileno())
        if kind is not None:
            with suppress(OSError):
                for path in self._files.written:
                    path.unlink(missing_ok=True)
