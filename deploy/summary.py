"""What a server's directory says about its run: the journal and fed.toml as `roughfed.report.summary`.

Nothing is written. It works while the server runs (SQLite in WAL mode) and after it ended.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from roughfed.deploy import aggregator
from roughfed.errors import ConfigError
from roughfed.report.summary import GroupSummary, Proof, RoundSummary, RunSummary, Together
from roughfed.server.masked.journal import Stages
from roughfed.server.store import EVERYBODY, RoundRow, Store
from roughfed.types import Evaluation, RoundHeader
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
        rounds, stages = round_summaries(store), Stages(store.journal)
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
            class_prior=class_prior(stages, rounds),
            proofs=[Proof(client, number, why) for client, (number, why) in stages.proofs().items()],
            suspended=stages.suspended(),
            sketch_dim=config.sketch.dim if config.privacy.server_sees == "sketches" else 0,
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
    rows = _closed(store)
    headers = {row.round: decode_header(row.header.body) for row in rows}
    spread = spreads(store, headers.values())
    return [_round(row, headers[row.round], store, spread) for row in rows]


def spreads(store: Store, headers: Iterable[RoundHeader]) -> dict[int, Sequence[int]]:
    """Clients by their accuracy, of the versions that masked rounds began with: version -> histogram."""
    stages = Stages(store.journal)
    found = {h.model_version: stages.statistics(h.round).get("accuracy-histogram", ()) for h in headers if h.masked}
    return {version: histogram for version, histogram in found.items() if sum(histogram)}


def class_prior(stages: Stages, rounds: Iterable[RoundSummary]) -> list[int]:
    """Training examples by class, of all clients that gave their counts: each does once a run."""
    counts = [stages.statistics(r.round).get("class-count", ()) for r in rounds]
    total = [sum(column) for column in zip_longest(*counts, fillvalue=0)]
    return total if any(total) else []


def _closed(store: Store) -> list[RoundRow]:
    return [row for row in store.rounds() if row.outcome is not None]


def _round(row: RoundRow, header: RoundHeader, store: Store, spread: Mapping[int, Sequence[int]]) -> RoundSummary:
    committed = row.outcome == "committed"
    version = header.model_version + committed
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
        groups=told.groups(),
        clip_norm=header.clip_norm if header.masked else None,
        train_seconds=told.known("train_seconds"),
        train_metrics=told.numbers("train_metrics"),
    )
    return _with_figures(bare, store.evaluations(version), spread.get(version, ())) if committed else bare


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

    def groups(self) -> list[GroupSummary]:
        return [GroupSummary(list(g["members"]), str(g["void"])) for g in self._figures.get("groups", [])]


def _with_figures(bare: RoundSummary, found: Mapping[str, Evaluation], spread: Sequence[int]) -> RoundSummary:
    """Add what was measured: on the server's own data, or else on the clients' together."""
    by_client = {client: e for client, e in found.items() if client not in (SERVER, EVERYBODY)}
    summed = found.get(EVERYBODY)
    whole = found.get(SERVER) or summed or pooled(by_client.values())
    accuracies = {client: a for client, e in by_client.items() if (a := e.accuracy) is not None}
    bare = replace(bare, client_accuracy=accuracies, together=None if summed is None else together(summed, spread))
    if whole is None:
        return bare
    return replace(
        bare,
        accuracy=whole.accuracy,
        balanced_accuracy=whole.balanced_accuracy,
        loss=whole.loss,
        class_accuracy=recall(whole) or None,
    )


def together(summed: Evaluation, spread: Sequence[int]) -> Together:
    """What the sums of a masked round say about the version that it began with."""
    return Together(
        accuracy=summed.accuracy,
        balanced_accuracy=summed.balanced_accuracy,
        class_accuracy=recall(summed) or None,
        histogram=list(spread),
    )


def recall(evaluation: Evaluation) -> list[float | None]:
    """Share of correct examples by class; None for a class without any."""
    return [k / n if n else None for k, n in zip(evaluation.class_correct, evaluation.class_count, strict=True)]


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
