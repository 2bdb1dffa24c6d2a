"""What a journal says about its run, as `roughfed.report.summary`: for the report, and for the status page."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from roughfed.config.federation import FederationConfig
from roughfed.measures import confusion_matrix, figures, recall_by_class
from roughfed.report.heterogeneity.parts import heterogeneity_of
from roughfed.report.starts import changes
from roughfed.report.summary import (
    CalibratedSummary,
    DefenceSummary,
    GroupSummary,
    Proof,
    RoundSummary,
    RunSummary,
    StartSummary,
    Together,
    with_class_counts,
)
from roughfed.server.masked.journal import Stages
from roughfed.server.model.calibrated import newest
from roughfed.server.model.retention import class_counts, whole
from roughfed.server.storage.starts import Start, starts
from roughfed.server.storage.store import EVERYBODY, GONE, RoundRow, Store
from roughfed.shared_tensors import model_part
from roughfed.types import Evaluation, RoundHeader
from roughfed.wire.session import decode_header

SERVER = ""
"""Source of an evaluation on the server's own data, in the journal."""

HISTOGRAMS = {"global": "accuracy-histogram", "personal": "personal-histogram", "alone": "alone-histogram"}
"""Model -> the statistic of masked rounds that counts clients by its accuracy."""

Histograms = Mapping[str, Sequence[int]]


def run_summary(store: Store, config: FederationConfig) -> RunSummary | None:
    """The run of a journal, as far as it has come; None before it was started.

    What only the clients know (who holds what, the scenario) is left out.
    """
    rounds = round_summaries(store)
    if (run := bare_summary(store, config)) is None:
        return None
    ends = [row.opened_at + r.seconds for row, r in zip(closed(store), rounds, strict=False)]
    begun = starts(store.journal)
    run = replace(
        run,
        clients=len({client for r in rounds for client in r.participants}),
        rounds=rounds,
        client_class_accuracy=client_recalls(store),
        config=dict(begun[-1].settings) if begun else config.model_dump(),
        starts=start_summaries(begun),
        seconds_total=max(ends) - began(store) if ends else None,
    )
    return with_class_counts(run, run.class_prior)


def bare_summary(store: Store, config: FederationConfig) -> RunSummary | None:
    """The run without its rounds, its settings, and what is known of single clients; None before it was started."""
    if (known := store.run()) is None:
        return None
    name, spec = known
    stages = Stages(store.journal)
    return RunSummary(
        run=name,
        scenario="",
        server_sees=config.privacy.server_sees,
        clients=0,
        parameters=model_part(spec).size,
        float32_bytes=model_part(spec).size_bytes,
        class_prior=class_counts(store),
        untrained=list(recall_by_class(first)) if (first := whole(store, 0)[0]) is not None else [],
        proofs=[Proof(client, number, why) for client, (number, why) in stages.proofs().items()],
        suspended=stages.suspended(),
        sketch_dim=config.sketch.dim if config.privacy.server_sees == "sketches" else 0,
        model_digest=store.latest_model()[1].hex(),
        calibrated=calibrated(store),
        started_at=moment(began(store)),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    )


def start_summaries(begun: Sequence[Start]) -> list[StartSummary]:
    """The starts of the server, each with the settings that differ from those of the start before."""
    return [
        StartSummary(
            at=moment(each.started_at),
            software=each.software,
            round=each.round,
            changed=[] if last is None else changes(last.settings, each.settings),
            ended=each.ended or "",
        )
        for last, each in zip([None, *begun], begun, strict=False)
    ]


def moment(at_s: float) -> str:
    """A Unix time as ISO 8601, to the second."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def began(store: Store) -> float:
    """When the run was started (Unix seconds)."""
    return store.journal.read("SELECT created_at FROM run")[0]["created_at"]


def closed(store: Store, *, after: int = 0) -> list[RoundRow]:
    """Rounds beyond a number that are over, oldest first; of those that a restore has lost nothing can be said."""
    return [row for row in store.rounds(after=after) if row.outcome is not None and row.cohort]


def round_summaries(store: Store) -> list[RoundSummary]:
    """The rounds that are over, oldest first; each has the figures of the version that it committed."""
    return summaries_of(store, closed(store))


def summaries_of(store: Store, rows: Sequence[RoundRow]) -> list[RoundSummary]:
    """Some rounds that are over."""
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


def _round(row: RoundRow, header: RoundHeader, store: Store, spread: Mapping[int, Histograms]) -> RoundSummary:
    committed = row.outcome == "committed"
    made = store.lineage.made_in(row.round) if committed else None  # with clusters not the one after its base
    version = header.model_version if made is None else made
    told = _Told(row)
    bare = RoundSummary(
        round=row.round,
        version=version,
        outcome=row.outcome or "",
        reason=row.reason,
        seconds=told.number("seconds"),
        phase_seconds=told.numbers("phase_seconds"),
        participants=list(row.cohort),
        accepted=row.accepted,
        excluded=list(row.excluded.items()),
        dropped=row.dropped,
        gone=[name for name, why in (row.sets or {}).items() if why == GONE],
        upload_bytes=int(told.number("upload_bytes")),
        download_bytes=int(told.number("download_bytes")),
        groups=told.groups(),
        clip_norm=header.clip_norm if header.masked else None,
        defence=told.defence(),
        train_seconds=told.known("train_seconds"),
        train_metrics=told.numbers("train_metrics"),
        heterogeneity=heterogeneity_of(row.summary or {}),
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
