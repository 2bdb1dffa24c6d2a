"""What is kept of a round for the report: seconds, bytes, means of what clients said, groups and sums."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from roughfed import measures
from roughfed.secagg.adverts import FULL
from roughfed.server.aggregate.weights import examples
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence.findings import weights_of
from roughfed.server.model.retention import class_counts, whole
from roughfed.server.round.shares import SHARES, shares_of
from roughfed.server.round.updates.interface import accepted_updates
from roughfed.server.storage.store import VOID
from roughfed.telemetry import safely
from roughfed.types import Evaluation, UpdateStatement


def summarize(ctx: ServerContext, round_: RoundState) -> dict[str, object]:
    """The round's figures for the report (`roughfed.server.observe.run_summary` adds the sets and the evaluations)."""
    row, traffic = round_.row, ctx.state.traffic
    accepted = [update.statement for update in accepted_updates(ctx, round_)]
    return (
        {
            "seconds": (row.closed_at or time.time()) - row.opened_at,
            "phase_seconds": dict(ctx.state.phase_seconds),
            "upload_bytes": traffic.upload,
            "download_bytes": traffic.download,
        }
        | ({} if round_.masked is not None else training_figures(accepted))
        | masked_figures(round_)
        | defence_figures(ctx, round_)
        | summed_figures(round_, accepted)
        | {SHARES: shares_of(ctx, round_)}
        | ctx.extensions.figures(round_)
    )


def summed_figures(round_: RoundState, accepted: Sequence[UpdateStatement]) -> dict[str, object]:
    """Sums of the statistics, and who weighs itself down, in quarters; the same in all modes."""
    sums, result = round_.row.sums, round_.result
    quarters = result.quarters if result is not None else {said.client: said.quarters for said in accepted}
    weights = {name: number for name, number in quarters.items() if number != FULL}
    return {
        **({"statistics": {name: list(values) for name, values in sums.items()}} if sums else {}),
        **({"weights": weights} if weights else {}),
    }


def masked_figures(round_: RoundState) -> dict[str, object]:
    """The groups of a masked round."""
    if (machine := round_.masked) is None or (result := round_.result) is None:
        return {}
    return {
        "groups": [
            {"members": list(group.names), "void": result.void.get(number, "")}
            for number, group in enumerate(machine.groups)
        ],
        "clip_norm": round_.header.clip_norm,
        "proofs": result.proofs,
    }


def defence_figures(ctx: ServerContext, round_: RoundState) -> dict[str, object]:
    """What the summary of a round keeps of its defence; nothing where the rule was not asked.

    After a restart the verdict itself is gone: the journal has its scores, and the sets say who is out.
    """
    row = round_.row
    if (told := ctx.defence.memory.told(row.round)) is None:
        return {}
    verdict, sets, scores = round_.verdict, row.sets or {}, dict(told.scores)
    excluded = dict(verdict.excluded) if verdict else {n: w for n in scores if (w := sets.get(n)) and w != VOID}
    return {
        "defence": {
            "rule": ctx.defence.name,
            "f": told.tolerated,
            "judged": told.judged,
            "scores": scores,
            "excluded": excluded,
            "suspects": sorted(verdict.suspects) if verdict else [],
            "weights": weights_of(verdict) if verdict else {},
        }
    }


async def complete_summary(ctx: ServerContext) -> None:
    """After a crash between the end of a round and its summary: what the journal still knows of it."""
    last = ctx.store.last_round()
    if last is None or last.outcome is None or last.summary is not None:
        return
    received = ctx.store.receipts(ctx.run, last.round).values()
    known: dict[str, object] = {"phase_seconds": {}, "upload_bytes": sum(u.receipt.size_bytes for u in received)}
    await ctx.store.set_summary(last.round, summarize(ctx, RoundState(last)) | known)


@safely
def report_evaluation(ctx: ServerContext, found: Evaluation) -> None:
    """Put an evaluation into the metrics."""
    measured = measures.figures(found, class_counts(ctx.store))
    shares = {
        "global": measured.accuracy,
        "balanced": measured.balanced,
        "worst_class": measured.worst,
        "head": measured.head,
        "medium": measured.medium,
        "tail": measured.tail,
    }
    ctx.metrics.evaluated(
        accuracy=shares,
        loss=found.loss,
        macro_f1=measured.macro_f1,
        calibration_error=measured.calibration_error,
        forgetting=None
        if ctx.extensions.schedule.on
        else ctx.state.peaks.forgetting(found),  # each cluster has a model of its own
    )


@safely
def report_client_evaluations(ctx: ServerContext, version: int) -> None:
    """The same with what the clients found about a version, where the server has no data of its own."""
    found, whose = whole(ctx.store, version)
    if found is not None and whose == "clients":
        report_evaluation(ctx, found)


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
