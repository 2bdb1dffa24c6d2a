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
from pathlib import Path
from typing import Any

from roughfed.deploy import aggregator
from roughfed.errors import ConfigError
from roughfed.measures import confusion_matrix, figures, recall_by_class
from roughfed.report.summary import (
    CalibratedSummary,
    DefenceSummary,
    GroupSummary,
    Proof,
    RoundSummary,
    RunSummary,
    Together,
    with_class_counts,
)
from roughfed.report.unlike.parts import unlike_of
from roughfed.scope import model_part
from roughfed.server.calibrated import newest
from roughfed.server.masked.journal import Stages
from roughfed.server.quality import class_counts, whole
from roughfed.server.store import EVERYBODY, RoundRow, Store
from roughfed.types import Evaluation, RoundHeader
from roughfed.wire.session import decode_header

SERVER = ""
"""Source of an evaluation on the server's own data, in the journal."""

HISTOGRAMS = {"global": "accuracy-histogram", "personal": "personal-histogram", "alone": "alone-histogram"}
"""Model -> the statistic of masked rounds that counts clients by its accuracy."""

Histograms = Mapping[str, Sequence[int]]


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
        run = RunSummary(
            run=name,
            scenario="",
            server_sees=config.privacy.server_sees,
            clients=len({client for r in rounds for client in r.participants}),
            parameters=model_part(spec).size,
            float32_bytes=model_part(spec).size_bytes,
            rounds=rounds,
            class_prior=class_counts(store),
            client_class_accuracy=client_recalls(store),
            untrained=list(recall_by_class(first)) if (first := whole(store, 0)[0]) is not None else [],
            proofs=[Proof(client, number, why) for client, (number, why) in stages.proofs().items()],
            suspended=stages.suspended(),
            sketch_dim=config.sketch.dim if config.privacy.server_sees == "sketches" else 0,
            config=config.model_dump(),
            model_digest=store.latest_model()[1].hex(),
            calibrated=calibrated(store),
            started_at=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
            seconds_total=max(ends) - began if ends else None,
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        )
        return with_class_counts(run, run.class_prior)


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


def spreads(store: Store, headers: Iterable[RoundHeader]) -> dict[int, Histograms]:
    """Clients by their accuracy with each model, of the versions that masked rounds began with, by version."""
    stages, found = Stages(store.journal), dict[int, Histograms]()
    for header in headers:
        sums = stages.statistics(header.round) if header.masked else {}
        counts = {model: sums.get(name, ()) for model, name in HISTOGRAMS.items()}
        if known := {model: values for model, values in counts.items() if sum(values)}:
            found[header.model_version] = known
    return found


def calibrated(store: Store) -> CalibratedSummary | None:
    """The model that the worker finished from sums, and how it did."""
    if (found := newest(store)) is None:
        return None
    bare = CalibratedSummary(found.how, found.version, found.digest.hex())
    if found.evaluation is None:
        return bare
    shares = figures(found.evaluation, class_counts(store))
    return replace(
        bare,
        accuracy=shares.accuracy,
        balanced_accuracy=shares.balanced,
        worst_class=shares.worst,
        head=shares.head,
        medium=shares.medium,
        tail=shares.tail,
    )


def client_recalls(store: Store) -> dict[str, list[float | None]]:
    """Recall by class of every client that was heard about the newest version; of an older one where nobody was."""
    for version, _ in reversed(store.versions()):
        found = {c: e for c, e in store.evaluations(version).items() if c not in (SERVER, EVERYBODY)}
        if recalls := {client: list(recall_by_class(e)) for client, e in sorted(found.items()) if e.class_count}:
            return recalls
    return {}


def _closed(store: Store) -> list[RoundRow]:
    return [row for row in store.rounds() if row.outcome is not None]


def _round(row: RoundRow, header: RoundHeader, store: Store, spread: Mapping[int, Histograms]) -> RoundSummary:
    committed = row.outcome == "committed"
    made = store.lineage.made_in(row.round) if committed else None  # with clusters not the one after its base
    version = header.model_version if made is None else made
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
        defence=told.defence(),
        train_seconds=told.known("train_seconds"),
        train_metrics=told.numbers("train_metrics"),
        unlike=unlike_of(row.summary or {}),
    )
    return _with_figures(bare, store, spread.get(version, {})) if committed else bare


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

    def defence(self) -> DefenceSummary | None:
        kept: Mapping[str, Any] = self._figures.get("defence") or {}
        return DefenceSummary(**kept) if kept else None

    def groups(self) -> list[GroupSummary]:
        return [GroupSummary(list(g["members"]), str(g["void"])) for g in self._figures.get("groups", [])]


def _with_figures(bare: RoundSummary, store: Store, spread: Histograms) -> RoundSummary:
    """Add what was measured: on the server's own data, or else on the clients' together."""
    found = store.evaluations(bare.version)
    summed = found.get(EVERYBODY)
    bare = replace(
        bare,
        client_accuracy=_accuracies(found),
        client_personal=_accuracies(store.evaluations(bare.version, kind="personal")),
        client_alone=_accuracies(store.evaluations(bare.version, kind="alone")),
        together=None if summed is None else together(summed, spread),
    )
    if (measured := whole(store, bare.version)[0]) is None:
        return bare
    shares, table = figures(measured), confusion_matrix(measured)
    return replace(
        bare,
        accuracy=shares.accuracy,
        balanced_accuracy=shares.balanced,
        loss=measured.loss,
        class_accuracy=list(recall_by_class(measured)) or None,
        worst_class=shares.worst,
        macro_f1=shares.macro_f1,
        calibration_error=shares.calibration_error,
        confusion=[] if table is None else table.tolist(),
        calibration=list(measured.calibration),
    )


def _accuracies(found: Mapping[str, Evaluation]) -> dict[str, float]:
    """Of single clients, by name."""
    by_client = {client: e for client, e in found.items() if client not in (SERVER, EVERYBODY)}
    return {client: a for client, e in by_client.items() if (a := e.accuracy) is not None}


def together(summed: Evaluation, spread: Histograms) -> Together:
    """What the sums of a masked round say about the version that it began with."""
    return Together(
        accuracy=summed.accuracy,
        balanced_accuracy=summed.balanced_accuracy,
        class_accuracy=list(recall_by_class(summed)) or None,
        histogram=list(spread.get("global", ())),
        personal_histogram=list(spread.get("personal", ())),
        alone_histogram=list(spread.get("alone", ())),
    )


def _nothing_yet(folder: Path) -> ConfigError:
    return ConfigError("no run was started in this directory", file=str(folder), cure="roughfed server --dir DIR")
