"""A folder into which files with examples are put while the federation runs."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from roughfed.data.dataset import Dataset, Indices, concatenate
from roughfed.data.given import as_inputs, as_targets, classes_in
from roughfed.data.npz import Incomplete, read_npz
from roughfed.errors import ConfigError

log = logging.getLogger(__name__)

NAME = "folder"
MAX_BYTES = 4 << 30  # of all arrays together, in memory
MAX_FILES = 100_000


class Mark(NamedTuple):
    """How a file is recognised without reading it again."""

    device: int
    inode: int
    size: int
    modified_ns: int


class WatchedFolder:
    """A Stream of the `.npz` files that are in a folder: a round trains on what is there when it begins.

    Each file holds `x` [N, ...], floats (or whole numbers, if they are token ids), and `y` [N], whole numbers as labels
    or floats as measured values; `numpy.savez(file, x=x, y=y)` writes one. A file may be written in place: until it is
    complete it is left out, which the log says; so is one that does not fit the others. What is taken away from the
    folder is gone. An example's id follows from the bytes of its file and its row, whatever the file is called.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_classes: int = 0,
        shape: tuple[int, ...] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Record what to look at; nothing is read yet.

        Args:
            path: the folder. Only regular files directly in it count.
            num_classes: C; 0: one more than the largest label that is there, or regression.
            shape: of one example; None: that of the first file, in the order of their contents.
            max_bytes: of all arrays together; what comes beyond it is left out.
        """
        self.path = Path(path)
        self.num_classes = num_classes
        self._shape = shape
        self._max_bytes = max_bytes
        self._read: dict[Mark, tuple[str, Dataset] | None] = {}  # None: left out, and the log says why
        self._joined: Dataset | None = None

    def at(self, round: int) -> Dataset:
        """All examples that are in the folder now, whatever the round; empty when there is none.

        The same object again while the folder does not change.

        Raises:
            ConfigError: the folder cannot be read.
        """
        del round
        here = self._look()
        if self._joined is not None and here.keys() == self._read.keys():
            return self._joined
        self._read = {mark: self._read[mark] for mark in here if mark in self._read}
        for mark, path in here.items():
            if mark not in self._read:
                self._read[mark] = self._load(path)
        self._joined = self._join({entry[0]: entry[1] for entry in self._read.values() if entry})
        return self._joined

    def _look(self) -> dict[Mark, Path]:
        """The regular files by their marks; a link is no regular file."""
        here: dict[Mark, Path] = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if entry.name.endswith(".npz") and entry.is_file(follow_symlinks=False):
                        here[_mark(entry.stat(follow_symlinks=False))] = Path(entry.path)
        except OSError as error:
            cure = "make the folder, and let this client read it"
            raise ConfigError(f"cannot be read: {error}", file=str(self.path), key="data.folder", cure=cure) from error
        if len(here) > MAX_FILES:
            raise ConfigError(f"has {len(here)} files, at most {MAX_FILES}", file=str(self.path), key="data.folder")
        return here

    def _load(self, path: Path) -> tuple[str, Dataset] | None:
        """(digest, examples) of a file; None, and a line in the log, if it is not to be used as it is now."""
        left = self._max_bytes - sum(_size(entry[1]) for entry in self._read.values() if entry)
        try:
            digest, x, y = _read_file(path, left)
            if min(x.ndim, y.ndim) < 1 or len(x) != len(y):
                raise ConfigError(f"x of shape {x.shape} does not fit y of shape {y.shape}", key="data.folder")
            inputs, targets = as_inputs(x), as_targets(y, self.num_classes)
            ids = _ids(digest, len(targets))
            classes = self.num_classes or classes_in(targets)
            return digest, Dataset(inputs, targets, ids, classes, NAME)
        except (Incomplete, OSError) as error:
            log.info("%r is left out for now: %s", path.name, error)
        except ConfigError as error:
            log.warning("%r is left out: %s", path.name, error.cause)
        return None

    def _join(self, parts: dict[str, Dataset]) -> Dataset:
        """The examples of the files by their digests, each content once, in an order that no name decides."""
        chosen: list[Dataset] = []
        shape, kind = self._shape, None
        for digest in sorted(parts):
            part = parts[digest]
            kinds = (part.x.dtype, part.y.dtype)
            shape, kind = shape or part.input_shape, kind or kinds
            if part.input_shape == shape and kinds == kind:
                chosen.append(part)
            else:
                found = f"{part.input_shape} of {kinds[0]} with {kinds[1]}, not {shape} of {kind[0]} with {kind[1]}"
                log.warning("a file of %s is left out: its examples are %s", self.path.name, found)
        if not chosen:
            empty = np.empty((0, *(shape or ())), dtype=np.float32)
            none = np.empty(0, dtype=np.int64)
            return Dataset(empty, none, none, self.num_classes, NAME)
        classes = self.num_classes or max(part.num_classes for part in chosen)
        first = chosen[0]
        widened = Dataset(first.x, first.y, first.ids, classes, NAME)
        return concatenate([widened, *chosen[1:]])


def _read_file(path: Path, max_bytes: int) -> tuple[str, Any, Any]:
    """(digest of the file, x, y); opened without following a link that took its place meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError("is no regular file", file=str(path), key="data.folder")
        x, y = read_npz(file, path, ("x", "y"), max_bytes)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest(), x, y


def _ids(digest: str, count: int) -> Indices:
    """63-bit ids, int64 [N]: the file's digest and the row."""
    first = np.uint64(int(digest[:16], 16))
    with np.errstate(over="ignore"):
        return ((first + np.arange(count, dtype=np.uint64)) & np.uint64((1 << 63) - 1)).astype(np.int64)


def _mark(found: os.stat_result) -> Mark:
    return Mark(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _size(data: Dataset) -> int:
    return data.x.nbytes + data.y.nbytes + data.ids.nbytes
