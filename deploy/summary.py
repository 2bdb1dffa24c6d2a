"""What a server's directory says about its run: the journal and fed.toml as `roughfed.report.summary`.

Nothing is written. It works while the server runs (SQLite in WAL mode) and after it ended.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from roughfed.deploy import aggregator
from roughfed.errors import ConfigError
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.server.store import RoundRow, Store
from roughfed.types import Evaluation
from roughfed.wire.session import decode_header

SERVER = ""
"""Source of an evaluation on the server's own data, in the journal."""


def run_summary(folder: Path) -> RunSummary:
    """The run of a server directory, as far as it has come.

    What only the clients know (who holds what, the scenario) is left out.

    Args:
        folder: the directory with fed.toml and state/.

    Raises:
        ConfigError: no run was started here, or fed.toml cannot be read.
    """
    config = aggregator.load(folder, {})
    with closing(open_store(folder)) as store:
        if (known := store.run()) is None:
            raise _nothing_yet(folder)
        name, spec = known
        rounds = round_summaries(store)
        began: float = store.journal.read("SELECT created_at FROM run")[0]["created_at"]
        ends = [row.opened_at + r.seconds for row, r in zip(_closed(store), rounds, strict=True)]
        return RunSummary(
            run=name,
            scenario="",
            server_sees=config.privacy.server_sees,
            clients=len({client for r in rounds for client in r.participants}),
            parameters=spec.size,
            float32_bytes=spec.size_bytes,
            rounds=rounds,
            config=config.model_dump(),
            model_digest=store.latest_model()[1].hex(),
            started_at=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
            seconds_total=max(ends) - began if ends else None,
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        )


def open_store(folder: Path) -> Store:
    """The journal of a directory, for reading; the caller closes it.

    Raises:
        ConfigError: there is none.
    """
    state = aggregator.Place(folder).state
    if not (state / "journal.db").is_file():
        raise _nothing_yet(folder)
    return Store(state)


def round_summaries(store: Store) -> list[RoundSummary]:
    """The rounds that are over, oldest first; each has the figures of the version that it committed."""
    return [_round(row, store) for row in _closed(store)]


def _closed(store: Store) -> list[RoundRow]:
    return [row for row in store.rounds() if row.outcome is not None]


def _round(row: RoundRow, store: Store) -> RoundSummary:
    committed = row.outcome == "committed"
    version = decode_header(row.header.body).model_version + committed
    told = _Told(row)
    bare = RoundSummary(
        round=row.round,
        version=version,
        outcome=row.outcome or "",
        seconds=told.number("seconds"),
        phase_seconds=told.numbers("phase_seconds"),
        participants=list(row.cohort),
        accepted=row.accepted,
        excluded=list(row.excluded.items()),
        dropped=row.dropped,
        upload_bytes=int(told.number("upload_bytes")),
        download_bytes=int(told.number("download_bytes")),
        train_seconds=told.known("train_seconds"),
        train_metrics=told.numbers("train_metrics"),
    )
    return _with_figures(bare, store.evaluations(version)) if committed else bare


class _Told:
    """What the journal says of one round; the figures are missing if the server died before it wrote them."""

    def __init__(self, row: RoundRow) -> None:
        self._figures: Mapping[str, Any] = row.summary or {}

    def number(self, key: str) -> float:
        return float(self._figures.get(key, 0.0))

    def known(self, key: str) -> float | None:
        return float(found) if (found := self._figures.get(key)) is not None else None

    def numbers(self, key: str) -> dict[str, float]:
        return {str(name): float(value) for name, value in self._figures.get(key, {}).items()}


def _with_figures(bare: RoundSummary, found: Mapping[str, Evaluation]) -> RoundSummary:
    """Add what was measured: on the server's own data, or else on the clients' together."""
    by_client = {client: e for client, e in found.items() if client != SERVER}
    whole = found.get(SERVER) or pooled(by_client.values())
    accuracies = {client: a for client, e in by_client.items() if (a := e.accuracy) is not None}
    if whole is None:
        return replace(bare, client_accuracy=accuracies)
    recall = [k / n if n else None for k, n in zip(whole.class_correct, whole.class_count, strict=True)]
    return replace(
        bare,
        accuracy=whole.accuracy,
        balanced_accuracy=whole.balanced_accuracy,
        loss=whole.loss,
        class_accuracy=recall or None,
        client_accuracy=accuracies,
    )


def pooled(evaluations: Iterable[Evaluation]) -> Evaluation | None:
    """Several evaluations of one model as if their examples lay together; None when there is no example."""
    parts = [e for e in evaluations if e.num_examples]
    if not parts:
        return None
    return Evaluation(
        parts[0].model_digest,
        sum(e.num_examples for e in parts),
        sum(e.loss_sum for e in parts),
        tuple(sum(column) for column in zip_longest(*(e.class_count for e in parts), fillvalue=0)),
        tuple(sum(column) for column in zip_longest(*(e.class_correct for e in parts), fillvalue=0)),
        sum(e.absolute_error_sum for e in parts),
    )


def _nothing_yet(folder: Path) -> ConfigError:
    return ConfigError("no run was started in this directory", file=str(folder), cure="roughfed server --dir DIR")
