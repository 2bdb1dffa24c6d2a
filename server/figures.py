"""What is kept of a round for the report: seconds, bytes, means of what clients said, groups and sums."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from roughfed import measures
from roughfed.secagg.promises import FULL
from roughfed.server import contributing
from roughfed.server.aggregate.weights import examples
from roughfed.server.classes import class_figures
from roughfed.server.fair_round import fairness_figures
from roughfed.server.federation import Federation
from roughfed.server.incentive.figures import incentive_figures
from roughfed.server.quality import class_counts, whole
from roughfed.server.store import ReceivedUpdate, RoundRow
from roughfed.server.verdicts import defence_figures
from roughfed.telemetry import safely
from roughfed.types import Evaluation, UpdateStatement
from roughfed.wire.session import decode_header


def accepted_updates(fed: Federation, row: RoundRow) -> list[ReceivedUpdate]:
    """What is in the sum, in order of the clients' names."""
    accepted = set(row.accepted)
    return [u for u in fed.store.receipts(fed.run, row.round).values() if u.receipt.client in accepted]


def summarize(fed: Federation, row: RoundRow) -> dict[str, object]:
    """The round's figures for the report (`roughfed.server.summarized` adds the sets and the evaluations)."""
    found = (
        {
            "seconds": (row.closed_at or time.time()) - row.opened_at,
            "phase_seconds": dict(fed.phase_seconds),
            "upload_bytes": fed.traffic.upload,
            "download_bytes": fed.traffic.download,
        }
        | ({} if fed.masked is not None else training_figures([u.statement for u in accepted_updates(fed, row)]))
        | masked_figures(fed, row)
        | defence_figures(fed, row)
        | class_figures(fed, row)
        | fed.clusters.summary(row)
        | said_together(fed, row)
        | contributing.figures(fed, row)
        | fairness_figures(fed, row, accepted_updates(fed, row))
    )
    return incentive_figures(fed, row, accepted_updates(fed, row), found)


def said_together(fed: Federation, row: RoundRow) -> dict[str, object]:
    """Sums of the statistics, and who weighs itself down, in quarters; the same in all modes."""
    if fed.result is not None:
        quarters = fed.result.quarters
    else:
        quarters = {u.receipt.client: u.statement.quarters for u in accepted_updates(fed, row)}
    weights = {name: number for name, number in quarters.items() if number != FULL}
    return {
        **({"statistics": {name: list(values) for name, values in row.sums.items()}} if row.sums else {}),
        **({"weights": weights} if weights else {}),
    }


def masked_figures(fed: Federation, row: RoundRow) -> dict[str, object]:
    """The groups of a masked round."""
    if (round_ := fed.masked) is None or (result := fed.result) is None:
        return {}
    return {
        "groups": [
            {"members": list(group.names), "void": result.void.get(number, "")}
            for number, group in enumerate(round_.groups)
        ],
        "clip_norm": decode_header(row.header.body).clip_norm,
        "proofs": result.proofs,
    }


async def complete_summary(fed: Federation) -> None:
    """After a crash between the end of a round and its summary: what the journal still knows of it."""
    last = fed.store.last_round()
    if last is None or last.outcome is None or last.summary is not None:
        return
    received = fed.store.receipts(fed.run, last.round).values()
    found = summarize(fed, last) | {"phase_seconds": {}, "upload_bytes": sum(u.receipt.size_bytes for u in received)}
    await fed.store.set_summary(last.round, found)


@safely
def show(fed: Federation, found: Evaluation) -> None:
    """Put an evaluation into the metrics."""
    measured = measures.figures(found, class_counts(fed.store))
    shares = {
        "global": measured.accuracy,
        "balanced": measured.balanced,
        "worst_class": measured.worst,
        "head": measured.head,
        "medium": measured.medium,
        "tail": measured.tail,
    }
    fed.metrics.evaluated(
        accuracy=shares,
        loss=found.loss,
        macro_f1=measured.macro_f1,
        calibration_error=measured.calibration_error,
        forgetting=None if fed.clusters.on else fed.peaks.forgetting(found),  # each cluster has a model of its own
    )


@safely
def show_clients(fed: Federation, version: int) -> None:
    """The same with what the clients found about a version, where the server has no data of its own."""
    found, whose = whole(fed.store, version)
    if found is not None and whose == "clients":
        show(fed, found)


def training_figures(statements: Sequence[UpdateStatement]) -> dict[str, object]:
    """What the clients say of their local training: mean seconds, and mean metrics weighted by examples.

    A metric counts if more than half of the clients report it: one client cannot fill the report with names. Nor can it
    decide a mean by the examples that it claims: they are capped as in the model's own mean.
    """
    if not statements:
        return {}
    counts = Counter(name for s in statements for name in s.metrics)
    weights = examples(statements)
    means: dict[str, float] = {}
    for name in sorted(name for name, count in counts.items() if 2 * count > len(statements)):
        given = [(s.metrics[name], n) for s, n in zip(statements, weights, strict=True) if name in s.metrics]
        means[name] = sum(value * n for value, n in given) / sum(n for _, n in given)
    return {"train_seconds": sum(s.train_seconds for s in statements) / len(statements), "train_metrics": means}
