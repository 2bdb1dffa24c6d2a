"""Between two rounds: decisions that are due, and, with IFCA, the question which model fits each client best."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Mapping

from roughfed import crash
from roughfed.messages import Choice, Choose
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.clusters import choices as rule
from roughfed.server.extensions.clusters.choices import Choosing
from roughfed.server.extensions.clusters.initial_models import FirstModels
from roughfed.server.extensions.clusters.journal import Decided
from roughfed.server.extensions.clusters.members import Move, by_cluster, settled
from roughfed.server.extensions.clusters.schedule import ClusterSchedule, telling
from roughfed.server.members.sessions import ClientSession
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.rollback import first_choice
from roughfed.types import Signed
from roughfed.wire.cluster_choice import QUESTION_DOMAIN, Question, encode_question

log = logging.getLogger(__name__)

CHOOSE_S = 300.0
"""Clients get this long to evaluate all models, or `round.deadline` if that is less."""

GONE_S = 20.0
"""One that goes away meanwhile gets this long to come back."""


class ClusterChoice:
    """The question which cluster's model fits them best, put to the clients between rounds."""

    def __init__(self, ctx: ServerContext, clusters: ClusterSchedule, first: FirstModels) -> None:
        """No question is open."""
        self._ctx, self._clusters, self._first = ctx, clusters, first
        self._choosing: Choosing | None = None
        self._declined: set[str] = set()

    async def between(self, until: float | None) -> bool:
        """Decide what is due between two rounds; whether a cluster can play now.

        Where none can, this returns at the next change of who is connected, or at `until` (monotonic seconds).
        """
        clusters, last = self._clusters, self._ctx.store.last_round()
        if not clusters.on or (last is not None and last.outcome is None):
            return True  # a round that the journal left open is finished first
        await clusters.between()
        while clusters.settings.method == "ifca" and (choosing := await self._due()) is not None:
            await self._ask(choosing, until)
        if clusters.playable() is not None or clusters.over():
            return not clusters.over()
        here = telling({each.cluster: sorted(each.present) for each in clusters.standings()})
        log.info(
            "waiting: no cluster has %d members here (%s)", self._ctx.config.members_to_play, here or "nobody is known"
        )
        await self._ctx.state.sleep_until_change(until)
        if self._ctx.state.stopping:
            raise asyncio.CancelledError
        return False

    async def _due(self) -> Choosing | None:
        """The question that is open, or that has to be asked now; it is journaled."""
        clusters, journal = self._clusters, self._clusters.journal
        last, newest = journal.last_choosing(everybody=True), journal.last_choosing()
        if newest is not None and newest.open:
            return newest
        here = sorted(self._ctx.clients.able())
        number = 0 if (row := self._ctx.store.last_round()) is None else row.round
        if last is not None and not clusters.membership:  # nothing came of the first one
            again = rule.drawn_again(last, depths=self._depths(), smallest=clusters.least)
            await self._first.draw_again(last, again)
            everybody = True
        else:
            turns = dict.fromkeys(by_cluster(clusters.membership), 0)
            if last is not None:
                turns |= {c: n for c, n in journal.turns(after=last.round).items() if c in turns}
            everybody = rule.is_due(last, turns, clusters.settings.choose_every)
        asked = here if everybody else [name for name in here if name not in clusters.membership]
        if not asked:
            return None
        heads = self._ctx.store.lineage.heads()
        models = tuple((cluster, head.version, head.digest) for cluster, head in heads.items())
        numbered = max(first_choice(self._ctx.store), 0 if newest is None else newest.number + 1)
        choosing = Choosing(numbered, number, everybody, tuple(asked), models, open=True, said={})
        await journal.open_choosing(choosing, time.time())
        crash.point("choosing-opened")
        return choosing

    async def _ask(self, choosing: Choosing, until: float | None) -> None:
        """Ask, wait for the answers, and put everybody where it belongs."""
        self._ctx.state.enter("choose")
        last_moment = self._ctx.state.clock() + min(CHOOSE_S, self._ctx.config.round.deadline)
        deadline = last_moment if until is None else min(last_moment, until)
        question = self._question_of(choosing)
        body = encode_question(question)
        signed = Signed(body, self._ctx.identity.key.sign(QUESTION_DOMAIN, body), self._ctx.identity.name)
        self._choosing, self._declined = choosing, set()
        told: dict[str, ClientSession] = {}
        gone: dict[str, float] = {}
        while (now := self._ctx.state.clock()) < deadline:
            owing = set(choosing.asked) - self._latest(choosing).said.keys() - self._declined
            owing = {name for name in owing if self._awaited(name, gone, now)}
            if not owing:
                break
            for name in sorted(owing):
                if (session := self._ctx.clients.get(name)) is not None and told.get(name) is not session:
                    told[name] = session
                    session.send(Choose(signed, deadline - now))
            await self._ctx.state.sleep_until_change(
                min([deadline, *(gone[name] + GONE_S for name in owing & gone.keys())])
            )
            if self._ctx.state.stopping:
                raise asyncio.CancelledError  # it stays open in the journal; the next start goes on with it
        self._choosing = None
        await self._close(self._latest(choosing))
        self._ctx.state.enter("waiting")

    def _awaited(self, name: str, gone: dict[str, float], now: float) -> bool:
        """Whether an answer can still come: of whoever is here, and for a while of one that is away."""
        if name in self._ctx.clients.quarantined or name in self._ctx.clients.revoked:
            return False
        if self._ctx.clients.get(name) is not None:
            gone.pop(name, None)
            return True
        return now < gone.setdefault(name, now) + GONE_S

    async def accept(self, session: ClientSession, choice: Choice) -> None:
        """A client's answer: journaled, if it is one to the question that is open."""
        choosing = self._choosing
        if choosing is None or choice.number != choosing.number or session.name not in choosing.asked:
            self._ctx.metrics.refused("stale")
            return
        if session.name in choosing.said:
            return  # the first word counts
        if not 1 <= choice.place <= len(choosing.models):
            self._declined.add(session.name)
            log.info("%s does not choose: %s", session.name, choice.reason or "no reason given")
        else:
            cluster = choosing.models[choice.place - 1][0]
            self._choosing = dataclasses.replace(choosing, said={**choosing.said, session.name: cluster})
            await self._clusters.journal.note_choice(choosing.number, session.name, cluster)
            crash.point("choice-journaled")
        self._ctx.state.wake()

    async def _close(self, choosing: Choosing) -> None:
        """Who is where by the answers; nobody yet where models are drawn anew first."""
        clusters = self._clusters
        first = not clusters.membership
        again = first and rule.drawn_again(choosing, depths=self._depths(), smallest=clusters.least)
        moves: list[Move] = []
        if not again:
            known = [cluster for cluster, _, _ in choosing.models]
            wanted = rule.chosen(choosing, clusters.living, DEFAULT, known)
            moves = moves_to(settled(wanted, clusters.least), wanted, clusters.membership, choosing.said)
        counts = {cluster: list(choosing.said.values()).count(cluster) for cluster, _, _ in choosing.models}
        event = "chosen" if moves else ""
        await clusters.journal.close_choosing(choosing, time.time(), moves, Decided(event, {"chosen": counts}))
        clusters.reload()
        crash.point("choosing-closed")
        log.info("choosing %d: %s; now %s", choosing.number, counts, telling(by_cluster(clusters.membership)))

    def _question_of(self, choosing: Choosing) -> Question:
        """What the clients are asked."""
        models = tuple(digest for _, _, digest in choosing.models)
        last = self._ctx.store.last_round()
        return Question(
            self._ctx.run, choosing.number, self._ctx.spec.digest, models, None if last is None else last.header
        )

    def _depths(self) -> dict[str, int]:
        """Cluster -> rounds behind its model."""
        return {cluster: head.depth for cluster, head in self._ctx.store.lineage.heads().items()}

    def _latest(self, choosing: Choosing) -> Choosing:
        """The same question with the answers so far."""
        found = self._clusters.journal.last_choosing()
        return choosing if found is None else dataclasses.replace(choosing, said=found.said)


def moves_to(
    places: Mapping[str, str], wanted: Mapping[str, str], before: Mapping[str, str], said: Mapping[str, str]
) -> list[Move]:
    """The moves that lead from `before` to `places`."""
    return [
        Move(client, cluster, _why(client, cluster, wanted, said))
        for client, cluster in sorted(places.items())
        if before.get(client) != cluster
    ]


def _why(client: str, cluster: str, wanted: Mapping[str, str], said: Mapping[str, str]) -> str:
    if wanted[client] != cluster:
        return "small"
    return "chosen" if client in said else "joined-default"
