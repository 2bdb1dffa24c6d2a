"""What each client's part in a round was worth: scored beside the rounds that follow, journaled with the round.

A side tap: nothing here changes a model, and a round waits for it no longer than for one short call of the worker. What
is needed of a round is kept as hard links (`contribution.kept`) before its model is committed; a round that comes while
an earlier one is still being scored is not judged, and its summary says so. After a crash the kept round is scored
again; what the rounds say together is folded anew out of the journaled summaries.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from roughfed.config.conflicts.contribution import METHOD as KEY
from roughfed.config.conflicts.contribution import method_of as chosen
from roughfed.config.contribution import DEFAULT_UTILITY
from roughfed.errors import ConfigError, LocalProtocolError, StorageError, TrainerError
from roughfed.rng import derive
from roughfed.server.context.extension import Extension, Figures
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.contribution import NOTHING, Case, Scores, ScoringMethod, method_of
from roughfed.server.extensions.contribution.game import Known, left_out
from roughfed.server.extensions.contribution.inputs import what_counts
from roughfed.server.extensions.contribution.method import Coalition, Found, Play, State, Values
from roughfed.server.extensions.contribution.retained import RetainedRound, Shelf
from roughfed.server.extensions.contribution.totals import Contributions
from roughfed.server.extensions.contribution.utility import in_order, utilities_of
from roughfed.server.storage.store import Store

log = logging.getLogger(__name__)

CALL_S = 1.0
"""A call of the worker is to take so long, about: whoever needs it meanwhile waits for one."""

LAST_S = 600.0
"""At the end of a run its last round is waited for so long."""

UNKNOWN = "the server ended before it was kept"
"""Why a round is not judged that a start finds committed, and not kept."""

EACH = 5
"""Evaluations for each client, where `contribution.budget` says nothing."""


class ContributionScoring(Extension):
    """Scores rounds beside those that follow.

    Attributes:
        book: the method, its state, and what is being scored.
        shelf: where a round is kept.
    """

    def __init__(self, ctx: ServerContext) -> None:
        """Nothing is scored before `prepare`."""
        self._ctx = ctx
        self.book, self.shelf = Contributions(), Shelf(ctx.store.folder / "contribution")

    @property
    def wants_groups(self) -> bool:
        """Whether groups are scored."""
        return self.book.wants_groups

    async def prepare(self) -> None:
        """Settle the method, once the server's data are known, and fold what was judged before.

        Raises:
            ConfigError: the method evaluates models, and the server has no data.
        """
        settings = self._ctx.config.contribution
        if settings.method == "none":
            self.shelf.clear()
            return
        data = await self._has_data()
        name = chosen(self._ctx.config, data=data)
        if not name:
            log.info("contributions are not scored: with these settings nobody can be compared")
            return
        row = method_of(name)
        evaluates = row.data == "needed" or (row.data == "wanted" and settings.utility != "cosine" and data)
        asked = settings.utility not in ("auto", "cosine")
        if (row.data == "needed" or (row.data == "wanted" and asked)) and not data:
            cause = f"{name} evaluates models on the server's own data, and it has none"
            cure = 'give the Client in the app of model.app data as test=, or write method = "cgsv"'
            raise ConfigError(cause, key=KEY, cure=cure if row.data == "needed" else 'write utility = "cosine"')
        first = settings.utility if asked else DEFAULT_UTILITY[self._ctx.config.federation.task]
        utilities = in_order(first, self._ctx.num_classes) if evaluates else ()
        self.book = Contributions(name, row, utilities, folded(self._ctx.store, name, row))

    async def _has_data(self) -> bool:
        """Whether the worker has held-out examples of whole models."""
        config = self._ctx.config
        if (
            self._ctx.worker is None
            or config.model.private
            or config.trainer.scaffold
            or self._ctx.extensions.schedule.on
        ):
            return False
        try:
            return any(await self._ctx.worker.root_counts())
        except TrainerError as error:
            log.warning("the server's data cannot be used for contributions: %s", error)
            return False

    async def on_stepped(self, round_: RoundState, weighting: str) -> None:
        """Keep what scoring a round takes; before its model is committed.

        Args:
            round_: the round, with its verdicts.
            weighting: of the aggregate.
        """
        own, row = self.book, round_.row
        if own.method is None or not self._due(row.round):
            return
        if own.busy and own.scoring is not None and self._ctx.config.privacy.server_sees == "sketches":
            await asyncio.wait({own.scoring})  # a few inner products
        if own.busy:
            own.skipped[row.round] = "an earlier round is still being scored"
            return
        try:
            kept, files, gram = await asyncio.to_thread(what_counts, self._ctx, round_, weighting)
            if problem := unfit(kept, own.method):
                own.skipped[row.round] = problem
                return
            model = self._ctx.store.model_path(round_.header.model_digest)
            await asyncio.to_thread(self.shelf.keep, kept, model=model, files=files, gram=gram)
        except (StorageError, LocalProtocolError) as error:
            log.warning("round %d is not scored: %s", row.round, error)
            own.skipped[row.round] = "what it takes could not be kept"

    def figures(self, round_: RoundState) -> Figures:
        """What the summary of a round says before it is scored: that it never will be, where that is known."""
        own, row = self.book, round_.row
        if own.method is None or row.outcome != "committed" or not self._due(row.round):
            return {}
        why = own.skipped.pop(row.round, "")
        if not why and ((kept := self.shelf.kept()) is None or kept.round != row.round):
            why = UNKNOWN
        return {"contribution": Scores(own.name, 0, {}, {}, skipped=why).summary()} if why else {}

    def _due(self, number: int) -> bool:
        """Whether a round is one of those that are scored."""
        return (number - 1) % self._ctx.config.contribution.every == 0

    def resume(self) -> None:
        """Score the round that is kept, if it was committed; once its summary is there, or at a start."""
        own = self.book
        if own.method is None or own.busy:
            return
        kept = self.shelf.kept()
        if kept is None:
            return
        row = next(iter(self._ctx.store.judged(after=kept.round - 1)), None)
        if row is None or row.round != kept.round or row.outcome != "committed":
            return
        said: Any = (row.summary or {}).get("contribution") or {}
        if "scores" in said:  # the server was killed between the two: `own.state` has them already
            self.shelf.clear()
        else:
            own.scoring = asyncio.create_task(self._score(own.method, kept))

    async def finish(self) -> None:
        """At the end of a run: wait for its last scores."""
        if (scoring := self.book.scoring) is not None:
            await asyncio.wait({scoring}, timeout=LAST_S)

    async def stop(self) -> None:
        """Leave what is being scored to the next start."""
        if (scoring := self.book.scoring) is not None and not scoring.done():
            scoring.cancel()
            with suppress(asyncio.CancelledError):
                await scoring

    async def _score(self, row: ScoringMethod, kept: RetainedRound) -> None:
        """Score the kept round, journal it, and keep it no longer."""
        own, began, known = self.book, time.perf_counter(), Known(kept.twins)
        try:
            gram = await asyncio.to_thread(self.shelf.gram, kept)
            case = Case(
                kept.names,
                np.array(kept.weights) / sum(kept.weights),
                lambda: gram,
                own.utilities,
                self._ctx.config.contribution.budget or EACH * len(kept.names),
                derive(self._ctx.config.federation.seed, "contribution", kept.round),
                kept.twins,
                {name: tuple(members) for name, members in kept.members.items()},
            )
            found = await self._judged(kept, row.judge(case), known)
            if not all(math.isfinite(value) for parts in found.values() for value in parts.values()):
                raise TrainerError("a model of some of its updates has no loss that is a number", reason="diverged")
        except (StorageError, LocalProtocolError, TrainerError) as error:
            log.warning("round %d is not scored: %s", kept.round, error)
            scores = Scores(own.name, known.evaluations, {}, {}, skipped="the models could not be evaluated")
        else:
            found = {**found, **left_out(kept.left_out, own.utilities)}
            own.state = row.fold(own.state, found)
            now, to_go = await asyncio.to_thread(lambda: (row.standing(own.state), row.needed_rounds(own.state)))
            scores = Scores(own.name, known.evaluations, found, now.totals, now.intervals, needed_rounds=to_go)
        await self._record(kept.round, scores)
        await asyncio.to_thread(self.shelf.clear)
        took = time.perf_counter() - began
        log.info("round %d: contributions by %s, %d evaluations, %.1f s", kept.round, own.name, known.evaluations, took)

    async def _judged(self, kept: RetainedRound, play: Play, known: Known) -> Found:
        """Drive a play to its end; every model that it asks for is evaluated by the worker, a few in a call."""
        size = 1
        try:
            wanted = next(play)
            while True:
                missing = known.missing(wanted)
                while missing:
                    began = time.perf_counter()
                    part, missing = missing[:size], missing[size:]
                    known.put(part, await self._evaluated(kept, part))
                    size = max(1, int(CALL_S * len(part) / max(1e-3, time.perf_counter() - began)))
                wanted = play.send(known.values(wanted))
        except StopIteration as end:
            return end.value

    async def _evaluated(self, kept: RetainedRound, coalitions: Sequence[Coalition]) -> list[Values]:
        """The utilities of some coalitions.

        Raises:
            TrainerError: the worker could not evaluate them.
        """
        if self._ctx.worker is None:
            raise TrainerError("the server has no worker", reason="refused")
        place = self.shelf
        asked = {
            "params": str(place.model),
            "updates": [str(path) for path in place.updates(kept)],
            "codec": kept.codec,
            "weights": [kept.shares(one) for one in coalitions],
            "examples": self._ctx.config.contribution.examples,
            "seed": derive(self._ctx.config.federation.seed, "contribution", "examples"),
        }
        sums = await self._ctx.worker.score(asked)
        return [utilities_of(one, self.book.utilities) for one in sums]

    async def _record(self, number: int, scores: Scores) -> None:
        """Put the scores of a round into its journaled summary, beside what is there under the same key."""
        found = scores.summary()

        def work(db: sqlite3.Connection) -> None:
            (text,) = db.execute("SELECT summary FROM rounds WHERE round = ?", (number,)).fetchone()
            summary: dict[str, Any] = json.loads(text) if text else {}
            summary["contribution"] = {**summary.get("contribution", {}), **found}
            db.execute("UPDATE rounds SET summary = ? WHERE round = ?", (json.dumps(summary), number))

        await self._ctx.store.journal.write(work)
        self._ctx.metrics.contribution(found)
        self._ctx.state.wake()

    async def on_closed(self, round_: RoundState) -> None:
        """Its summary is there: score it."""
        del round_
        self.resume()

    def pending(self) -> int | None:
        """The round whose scores are still to come."""
        last = self._ctx.store.last_round()
        if self.book.method is None or last is None:
            return None
        kept = self.shelf.kept()
        abandoned = kept is not None and kept.round == last.round and last.outcome == "abandoned"
        return None if kept is None or abandoned else kept.round


def folded(store: Store, name: str, row: ScoringMethod) -> State:
    """What the judged rounds of a method left, out of their summaries."""
    state = NOTHING
    for each in store.rounds():
        found: Mapping[str, Any] = (each.summary or {}).get("contribution") or {}  # pyright: ignore[reportAssignmentType]
        if found.get("method") == name and (parts := parts_of(found)):
            state = row.fold(state, parts)
    return state


def parts_of(summary: Mapping[str, Any]) -> Found:
    """The parts of a round out of the key "contribution" of its summary."""
    scores: Mapping[str, Mapping[str, float]] = summary.get("scores") or {}
    return {
        name: {part: value for part, value in parts.items() if part != "total"}
        for name, parts in scores.items()
        if "round" in parts
    }


def unfit(kept: RetainedRound, row: ScoringMethod) -> str:
    """Why a round cannot be judged by a method; "" where it can."""
    n, what = len(kept.names), "groups" if kept.rows == "groups" else "clients"
    if n < row.fewest:
        return f"{n} {what} count, and {row.fewest} are needed to compare"
    if row.most and n > row.most:
        return f"{n} {what} count, and {row.most} are the most"
    return "" if sum(kept.weights) > 0 else "nobody has a weight"
