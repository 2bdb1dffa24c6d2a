"""`roughfed export --for CLIENT`: the model of the quality that the ledger gives a client."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.server.extensions.ledger.hash_chain import Entry
    from roughfed.server.storage.store import Store
    from roughfed.types import Spec

KEY = "--for"


def quality_of(store: Store, client: str, version: int) -> float:
    """The level of a client as the ledger has it after a version.

    Raises:
        ConfigError: the ledger is not what was written, knows nothing of the client, or no levels are set.
    """
    from roughfed.server.extensions.ledger.check import check_ledger

    found = check_ledger(store)
    if (wrong := found.problem) is not None:
        cause = f"line {wrong.line} of the ledger is wrong ({wrong.what})"
        raise ConfigError(cause, key=KEY, cure="roughfed ledger verify")
    return tier_after(found.entries, client, version)


def tier_after(entries: Sequence[Entry], client: str, version: int) -> float:
    """The same out of the lines.

    Args:
        entries: of the ledger.
        client: its name.
        version: what came after it does not count.

    Raises:
        ConfigError: they say nothing of the client, no levels were set, or nothing was scored yet.
    """
    from roughfed.server.extensions.ledger.entries import check

    rounds = [at for at, entry in enumerate(entries) if entry["kind"] == "round"]
    last = next((at for at in rounds if (entries[at]["version"] or 0) >= version), rounds[-1] if rounds else -1)
    if not (levels := entries[last]["reward"]["tiers"] if rounds else ()):
        cure = "write levels = [0.5, 1.0], or the like, in [reward] before the run"
        raise ConfigError("clients have no levels in this run", key=KEY, cure=cure)
    known = {entry["client"] for entry in entries[:last] if entry["kind"] == "client"}
    if client not in known:
        cure = f"one of: {', '.join(sorted(known)) or 'nobody yet'}"
        raise ConfigError(f"the ledger knows no client {client!r}", key=KEY, cure=cure)
    book, _ = check(entries[: last + 1])  # and not the client's own last line: others went on while it was away
    if not book.method:
        cause = "no round was scored before this version, so nobody has a tier"
        raise ConfigError(cause, key=KEY, cure="a later --version, or another method in [contribution]")
    return float(book.given.levels.get(client, min(levels)))


@contextmanager
def given_model(store: Store, source: Path, spec: Spec, quality: float, out: Path) -> Generator[Path, None, None]:
    """A model file of lower quality, as long as it is needed; the source itself where it is whole.

    Args:
        store: the server's, with the first model.
        source: a model file of the run.
        spec: of the model.
        quality: 0..1.
        out: beside which it is made.

    Raises:
        ConfigError: the first model was not kept.
        StorageError: the disk refused.
    """
    from roughfed.params import read_flat, write_model
    from roughfed.server.extensions.ledger.rewards import downgraded

    if quality >= 1:
        yield source
        return
    digest = store.model(0)
    first = None if digest is None else store.model_path(digest)
    if first is None or not first.exists():
        cause = "the first model was not kept, so nobody can tell what changed"
        raise ConfigError(cause, key=KEY, cure="write levels in [reward] before the run")
    beside = out.with_name(out.name + ".given")
    try:
        flat = downgraded(read_flat(first)[: spec.size], read_flat(source)[: spec.size], spec, quality)
        write_model(beside, spec, [flat])
        yield beside
    finally:
        beside.unlink(missing_ok=True)
