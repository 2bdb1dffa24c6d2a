"""Files of a version: those of the quantised way down (`roughfed.codec.downlink`), and who places and deletes all.

What a version adds to the one before, and the error of that, lie beside the model and the optimizer's state.

They are named by the version, not by the model's digest: two versions may have the same parameters, and the error of
one must stand until the next is committed, because a server that dies in between computes the next again from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from roughfed.codec import blocks, downlink
from roughfed.errors import RemoteProtocolError
from roughfed.file_pool import open_over, retire, spare_of
from roughfed.files import disk_errors, place_durably, write_at
from roughfed.params import Flat, data_offset
from roughfed.server.metrics.stopwatch import Stopwatch
from roughfed.server.optimize.adaptive import Stepper
from roughfed.server.optimize.state import NO_STATE, StateFiles, is_state, state_files, state_of
from roughfed.server.storage.lineage import Version
from roughfed.server.storage.store import Store
from roughfed.types import Spec

ERROR = "error"


@dataclass(frozen=True, slots=True)
class DeltaFiles:
    """Where the quantised step of a version is written, before the version has a name.

    Attributes:
        payload: what a client one version behind downloads.
        error: bare float32 [D]: what this payload and earlier ones did not say.
        fed_back: the error of the version before; None for zeros.
        spare: an error that is not needed any more, to be written over.
    """

    payload: Path
    error: Path
    fed_back: Path | None
    spare: Path


@dataclass(frozen=True, slots=True)
class NextFiles:
    """Where the next version is written.

    Attributes:
        model: the parameters.
        delta: None when they are sent whole.
        state: what the server optimizer remembers.
        work: notes how long encoding takes.
    """

    model: Path
    delta: DeltaFiles | None = None
    state: StateFiles = NO_STATE
    work: Stopwatch = field(default_factory=Stopwatch)


def next_files(
    store: Store, version: int, *, quantised: bool, stepper: Stepper, base: Version | None = None
) -> NextFiles:
    """Where `version`, made from `base` (None: the one before), is written until `place`."""
    folder, number = store.folder / "models", version - 1 if base is None else base.version
    first = number == 0 if base is None else base.depth == 0
    model, state = folder / "next.safetensors", state_files(folder, version, stepper, base=number, first=first)
    if not quantised:
        return NextFiles(model, state=state)
    before = error_path(store, number)
    fed_back = before if before.exists() else None
    delta = DeltaFiles(folder / "next.delta", folder / "next.error", fed_back, spare_of(store.folder, ERROR))
    return NextFiles(model, delta, state)


def place(store: Store, files: NextFiles, version: int, digest: bytes) -> None:
    """Give the files of a version their names; it is not committed by that, and may be placed again.

    Raises:
        StorageError: the disk refused.
    """
    if files.delta is not None:
        place_durably(files.delta.payload, delta_path(store, version))
        place_durably(files.delta.error, error_path(store, version))
    files.state.place()
    place_durably(files.model, store.model_path(digest))


def delta_path(store: Store, version: int) -> Path:
    """What a version adds to the one before, quantised."""
    return store.folder / "models" / f"{version:08d}.delta"


def error_path(store: Store, version: int) -> Path:
    """What the payloads up to a version did not say."""
    return store.folder / "models" / f"{version:08d}.error"


def find_delta(store: Store, base: bytes, digest: bytes) -> Path | None:
    """The payload that leads from one committed model to the next one, if it is still here."""
    for each in store.lineage.of_digest(digest):
        before = store.lineage.version(each.base)
        joined = before is not None and before.digest == base
        if joined and (path := delta_path(store, each.version)).exists():
            return path
    return None


@dataclass(frozen=True, slots=True)
class DownloadSource:
    """What a download reads.

    Attributes:
        path: the file; what is in it never changes.
        start: where the payload begins in it.
        size_bytes: length of the payload.
        codec: "identity" (the parameters) or "int8" (a delta).
    """

    path: Path
    start: int
    size_bytes: int
    codec: str


def source(store: Store, digest: bytes, *, base: bytes, spec: Spec) -> DownloadSource:
    """The parameters of one model or, with a `base`, what leads to them from that one.

    Raises:
        RemoteProtocolError: reason "unknown-model" or "no-delta"; it is not here (any more).
    """
    if base:
        if (delta := find_delta(store, base, digest)) is None:
            raise RemoteProtocolError("this server has no delta between these models (any more)", reason="no-delta")
        return DownloadSource(delta, 0, downlink.payload_bytes(spec.size), "int8")
    if not (path := store.model_path(digest)).exists():
        raise RemoteProtocolError("this server has no such model (any more)", reason="unknown-model")
    return DownloadSource(path, data_offset(path), spec.size_bytes, "identity")


def base_digest(store: Store, version: int) -> bytes:
    """Digest of the version that one was made from, if a delta between them is here; else empty."""
    base = store.lineage.base_of(version) if delta_path(store, version).exists() else None
    return b"" if base is None else base.digest


def prune(store: Store, kept: Iterable[int], *, bases: bool = False) -> None:
    """Delete the deltas of all other versions, errors and states that no next round needs, and what a crash left.

    Not while a version is being written. With `bases`, what the newest versions were made from stays as it is: they
    may yet be taken back.
    """
    newest = store.lineage.heads().values()
    heads = {head.version for head in newest} | ({head.base for head in newest} if bases else set[int]())
    names = {delta_path(store, version).name for version in kept}
    names |= {error_path(store, version).name for version in heads}
    for path in (store.folder / "models").iterdir():
        half = path.suffix == ".partial" or path.stem == "next"
        passing = path.suffix in (".delta", ".error") or is_state(path)
        if (passing or half) and path.name not in names and not any(state_of(path, version) for version in heads):
            if path.suffix == ".error":
                retire(path, spare_of(store.folder, ERROR))
            else:
                path.unlink(missing_ok=True)


def sweep(store: Store) -> None:
    """Delete what a crash left: files that were half written, and those of a version that was not committed.

    Before the first round: a round that the journal left open makes its version again.
    """
    versions = store.versions()
    prune(store, [version for version, _ in versions], bases=True)
    known = {digest.hex() for _, digest in versions}
    for path in (store.folder / "models").glob("*.safetensors"):
        if path.stem not in known:
            path.unlink(missing_ok=True)


class DeltaWriter:
    """Writes payload and error slice by slice; durable once the block is left without an error, gone after one."""

    def __init__(self, files: DeltaFiles, size: int) -> None:
        """For D = `size` parameters."""
        self._files, self._size = files, size
        self._stack = ExitStack()
        self._at = 0

    def __enter__(self) -> DeltaWriter:
        """Begin both files anew.

        Raises:
            StorageError: the disk refused.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with disk_errors("write the delta"), ExitStack() as stack:
            self._payload = os.open(self._files.payload, flags, 0o644)
            stack.callback(os.close, self._payload)
            self._error = open_over(self._files.error, self._files.spare)
            stack.callback(os.close, self._error)
            os.ftruncate(self._error, 4 * self._size)
            self._stack = stack.pop_all()
        return self

    def append(self, payload: bytes, error: Flat) -> None:
        """The next slice: its own payload, as `downlink.quantise` gave it, and its error.

        All but the last are multiples of the block long: scales and levels then join to the payload of the whole.

        Raises:
            StorageError: the disk refused.
        """
        view, count = memoryview(payload), len(error)
        scales = 4 * -(-count // blocks.BLOCK)
        with disk_errors("write the delta"):
            write_at(self._payload, view[:scales], 4 * (self._at // blocks.BLOCK))
            write_at(self._payload, view[scales:], downlink.payload_bytes(self._size) - self._size + self._at)
            write_at(self._error, memoryview(error).cast("B"), 4 * self._at)
        self._at += count

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        """Sync both files, or delete them.

        Raises:
            StorageError: the disk refused.
        """
        with self._stack:
            if kind is None:
                with disk_errors("write the delta"):
                    os.fsync(self._payload)
                    os.fsync(self._error)
        if kind is not None:
            with suppress(OSError):
                self._files.payload.unlink(missing_ok=True)
                self._files.error.unlink(missing_ok=True)
