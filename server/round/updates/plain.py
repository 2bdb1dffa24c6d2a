"""A round in the clear: what its intake demands of each tier's payloads, its verdicts, and its mean.

Where clients are of several tiers, each tier is judged and averaged over what it sends, and the means are merged
coordinate by coordinate (`roughfed.tiers`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from roughfed.codec import CODECS
from roughfed.params import Flat
from roughfed.secagg.statistics import add
from roughfed.server.aggregate import WEIGHTINGS, weighed
from roughfed.server.aggregate.robust import combined
from roughfed.server.context.extension import Payloads
from roughfed.server.defence import Verdict, View, view_of_files
from roughfed.server.fairness.client_weights import fair_weights, shortened
from roughfed.server.round.updates import reference_updates
from roughfed.server.round.updates.interface import STATICS, Statistics, Updates, accepted_updates, open_round_of
from roughfed.server.round.verdict import judge_views
from roughfed.server.storage.comparisons import keep_compared
from roughfed.server.storage.store import ACCEPTED
from roughfed.server.uploads.admission import MAGNITUDE, REVOKED, absurd
from roughfed.server.uploads.payload import OpenRound
from roughfed.server.uploads.spool import opened, weighted_mean
from roughfed.tiers import STANDARD, Mean, completed, loudness, merged
from roughfed.types import Evaluation
from roughfed.upload_format import Sending, sendings_of


class PlainUpdates(Updates):
    """Whole updates, each signed by its client."""

    def demand(self) -> OpenRound:
        """Of each tier's updates."""
        first = open_round_of(self._ctx, self._round)
        demands = {
            name: replace(first, codec=s.codec, num_params=s.size, size_bytes=CODECS[s.codec].max_bytes(s.size))
            for name, s in self._sendings().items()
        }
        return replace(demands.pop(STANDARD), tiers=demands)

    async def verdicts(self, missing: Mapping[str, str], *, defend: bool) -> dict[str, str]:
        """By each update's magnitude, the extensions of the round and the defence."""
        received = self._ctx.store.receipts(self._ctx.run, self._round.number)
        sets = dict.fromkeys(received, ACCEPTED)
        sets |= dict.fromkeys(absurd({name: u.norm for name, u in received.items() if u.norm is not None}), MAGNITUDE)
        sets |= dict.fromkeys(self._ctx.clients.revoked & sets.keys(), REVOKED)
        if defend:
            self._round.verdict = verdict = await self._judge(sets)
            sets |= self._ctx.extensions.excluded(self._round) | dict(verdict.excluded)
        return sets | dict(missing)

    async def _judge(self, sets: Mapping[str, str]) -> Verdict:
        """The rule's verdict over whole updates; after a restart, the same again.

        Args:
            sets: of everybody who sent one; who is out for a reason that is not the rule's is not shown to it.

        Raises:
            TooFewClients: the rule cannot hold against so many among so few.
        """
        ctx, round_ = self._ctx, self._round
        received = {
            name: update.statement.tier
            for name, update in ctx.store.receipts(ctx.run, round_.number).items()
            if sets[name] not in (MAGNITUDE, REVOKED)
        }
        payloads = self._payloads(received)
        views = await self._views(payloads)
        views = await ctx.extensions.on_views(round_, views, payloads)
        return await judge_views(ctx, round_, views or {STANDARD: view_of_files({}, size=ctx.spec.size)})

    async def _views(self, payloads: Mapping[str, Payloads]) -> Mapping[str, View]:
        """The rows of each tier, for the defence."""
        own = await reference_updates.ready(self._ctx, self._round)
        views: dict[str, View] = {}
        sent = self._sendings()
        for name, each in payloads.items():
            rows = own if each.size == self._ctx.spec.size else reference_updates.parts_of(own, sent[name])
            views[name] = view_of_files(each.paths, size=each.size, codec=each.codec, extras=rows)
        return views

    def _payloads(self, received: Mapping[str, str]) -> dict[str, Payloads]:
        """The files of each tier that sent any; `received`: client -> tier, of whose update may count."""
        found: dict[str, Payloads] = {}
        for name, sending in self._sendings().items():
            if paths := {client: self._path(client) for client, tier in received.items() if tier == name}:
                found[name] = Payloads(paths, sending.codec, sending.size)
        return found

    def statistics(self, sets: Mapping[str, str]) -> tuple[Statistics, Mapping[str, Statistics]]:
        """A client tells them in every round, and what it said last counts."""
        received = self._ctx.store.receipts(self._ctx.run, self._round.number)
        given = {name: update.statement.statistics for name, update in received.items() if sets.get(name) == ACCEPTED}
        statics = {name: {key: said[key] for key in STATICS if key in said} for name, said in given.items()}
        return add(list(given.values())), {name: said for name, said in statics.items() if said}

    async def prepare_mean(self) -> None:
        """After a restart the defence is asked again."""
        if self._round.verdict is None:
            self._round.verdict = await self._judge(self._round.row.sets or {})

    @contextmanager
    def mean(self, weighting: str) -> Generator[Mean]:
        """As the verdict combines them, or weighted by `weighting`, tier by tier."""
        ctx, round_ = self._ctx, self._round
        accepted = accepted_updates(ctx, round_)
        if round_.verdict is not None and (how := round_.verdict.combine) is not None:
            with ExitStack() as stack:
                rows = {
                    name: stack.enter_context(
                        opened(self._path(name), codec=round_.header.codec, size=ctx.spec.size, work=ctx.work)
                    )
                    for name in (u.receipt.client for u in accepted)
                }
                own = {
                    name: stack.enter_context(opened(path, codec="identity", size=ctx.spec.size))
                    for name, path in round_.references.files.items()
                }
                yield combined(how, rows | own)
            return
        weights, length = fair_weights(
            ctx.config, round_.header, accepted, weighed([u.statement for u in accepted], WEIGHTINGS[weighting])
        )
        with ExitStack() as stack:
            means: list[tuple[Sending, Mean, float]] = []
            for name, sending in self._sendings().items():
                chosen = [
                    (self._path(u.receipt.client), weight)
                    for u, weight in zip(accepted, weights, strict=True)
                    if u.statement.tier == name
                ]
                if total := sum(weight for _, weight in chosen):
                    mean = weighted_mean(chosen, codec=sending.codec, size=sending.size, work=ctx.work)
                    means.append((sending, stack.enter_context(mean), total))
            yield shortened(merged_means(means, ctx.spec.size), length)

    def evaluations(self) -> list[tuple[str, Evaluation]]:
        """Each client's own."""
        return [
            (u.receipt.client, e)
            for u in accepted_updates(self._ctx, self._round)
            if (e := u.statement.evaluation) is not None and e.model_digest == self._round.header.model_digest
        ]

    async def add_comparisons(self) -> None:
        """Of each client that made some."""
        header = self._round.header
        said = {u.receipt.client: u.statement for u in accepted_updates(self._ctx, self._round)}
        await keep_compared(self._ctx.store, header.model_version, header.model_digest, said)

    def _sendings(self) -> dict[str, Sending]:
        """What each tier of the round sends, by name."""
        return sendings_of(self._round.row.header.digest, self._round.header, self._ctx.spec)

    def _path(self, client: str) -> Path:
        return self._ctx.intake.spool_path(self._ctx.run, self._round.number, client)


def merged_means(means: Sequence[tuple[Sending, Mean, float]], size: int) -> Mean:
    """The means of the tiers as one update.

    Args:
        means: of each tier that has a mean: what it sends, the mean of that, its clients' weights added up.
        size: D.
    """
    by_tensors: dict[tuple[str, ...], list[tuple[Sending, Mean, float]]] = {}
    for one in means:
        by_tensors.setdefault(one[0].tensors, []).append(one)
    parts = [
        (_of_same_tensors(same), sum(weight for _, _, weight in same), same[0][0].ranges)
        for same in by_tensors.values()
    ]
    return merged(parts, size)


def _of_same_tensors(means: Sequence[tuple[Sending, Mean, float]]) -> Mean:
    total = sum(weight for _, _, weight in means)
    base = next((mean for sending, mean, _ in means if sending.places is None), None)
    subsets = [
        (mean, s.places, weight / total if base is None else loudness(s.keep_one_in, weight / total))
        for s, mean, weight in means
        if s.places is not None
    ]
    if base is None:  # nobody sent all of it: a subset alone is no difference to scale up
        return completed(_zeros, subsets)
    return completed(base, subsets) if subsets else base


def _zeros(start: int, stop: int) -> Flat:
    return np.zeros(stop - start, dtype=np.float32)
