"""The clusters of a running federation: whose turn it is, and what follows from a round once it is over.

Whatever is decided is journaled before it is used, and is worked out of what the journal holds: a server that dies at
any point comes to the same clusters.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping

from roughfed import crash
from roughfed.config.federation import FederationConfig
from roughfed.messages import Finished
from roughfed.server.context.schedule import ModelSchedule
from roughfed.server.defence import View
from roughfed.server.defence.plan import tolerated
from roughfed.server.extensions.clusters.bipartition import (
    RowAngles,
    Split,
    SplitLimits,
    agreement,
    length_of,
    look,
    where_next,
)
from roughfed.server.extensions.clusters.journal import Begun, ClusterJournal, Decided, Entry
from roughfed.server.extensions.clusters.members import ClusterState, Move, by_cluster, next_turn, order, over, settled
from roughfed.server.masked.journal import Stages
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import RoundRow, Store

log = logging.getLogger(__name__)

TURN = "turn"
"""The fact that tells clients which of their cluster's rounds this is: schedules go by it."""

ON_TRIAL = frozenset({"joined-default", "small", "trial"})
"""Why a client may be in a cluster without anybody having seen that it belongs there."""


class ClusterSchedule(ModelSchedule):
    """Who is in which cluster. Without `clusters.method` there is one cluster, of everybody, and nothing is kept."""

    def __init__(self, config: FederationConfig, store: Store, able: Callable[[], set[str]]) -> None:
        """What the journal knows.

        Args:
            config: the settings.
            store: the server's.
            able: names of the clients that could be asked now.
        """
        super().__init__(config, store)
        self._able = able
        self.settings = config.clusters
        self.on = self.settings.on
        self.journal = ClusterJournal(store.journal)
        self.least = self.settings.least(masked=config.privacy.masked)
        self._entries: dict[str, Entry] = self.journal.entries() if self.on else {}

    # -- who is where -------------------------------------------------------------------------------------------------

    @property
    def membership(self) -> dict[str, str]:
        """Client -> its cluster."""
        return {client: entry.cluster for client, entry in self._entries.items()}

    @property
    def living(self) -> dict[str, str]:
        """The same without those who are not asked any more: revoked, proved liars, silent too often."""
        barred = self._store.revoked() | Stages(self._store.journal).quarantined().keys()
        return {client: cluster for client, cluster in self.membership.items() if client not in barred}

    def cluster_of(self, client: str) -> str:
        """Where a client is; the default for one that nobody knows."""
        return entry.cluster if (entry := self._entries.get(client)) is not None else DEFAULT

    def plays(self, client: str, cluster: str) -> bool:
        """Whether a client can be in a round of a cluster."""
        return not self.on or (client in self._entries and self._entries[client].cluster == cluster)

    def standings(self) -> list[ClusterState]:
        """The clusters with members, in order."""
        able, turns, heads = self._able(), self.journal.turns(), self._store.lineage.heads()
        failed = self.journal.failed()
        return [
            ClusterState(
                cluster, heads[cluster].depth, turns.get(cluster, 0), able & set(members), failed.get(cluster, 0)
            )
            for cluster, members in by_cluster(self.living).items()
        ]

    def turn(self) -> str:
        """Whose round is next; the default's where nobody can play, and without clusters."""
        return (self.playable() or DEFAULT) if self.on else DEFAULT

    def playable(self) -> str | None:
        """The cluster that plays next; None where none can."""
        return next_turn(self.standings(), rounds=self._config.round.rounds, needed=self._config.members_to_play)

    def over(self) -> bool:
        """Whether every cluster has had its rounds; those of the federation without clusters."""
        rounds = self._config.round.rounds
        if not self.on:
            return self._store.latest_model()[0] >= rounds
        return over(self.standings(), rounds=rounds)

    def left(self) -> int:
        """Rounds that are still to be committed, of all clusters with members together."""
        rounds = self._config.round.rounds
        done = [each.depth for each in self.standings()] if self.on else [self._store.latest_model()[0]]
        return sum(max(0, rounds - each) for each in done)

    def place(self, number: int, cluster: str) -> int:
        """Which of its cluster's rounds a round is, from 1: without clusters its own number."""
        if not self.on:
            return number
        sql = "SELECT COUNT(*) AS before FROM rounds WHERE cluster = ? AND round < ?"
        before = int(self._store.journal.read(sql, cluster, number)[0]["before"])
        begun = self._store.journal.read("SELECT base FROM clusters WHERE id = ?", cluster)
        base = self._store.lineage.version(begun[0]["base"]) if begun else None
        return before + 1 + (base.depth if base is not None else 0)

    def fact(self, number: int, cluster: str) -> dict[str, tuple[float, ...]]:
        """What jobs say of it."""
        return {TURN: (float(self.place(number, cluster)),)} if self.on else {}

    def farewell(self, finished: Finished, client: str) -> Finished:
        """The end of the run as one client hears it: with the model of its own cluster."""
        if not self.on:
            return finished
        head = self._store.lineage.head(self.cluster_of(client))
        return dataclasses.replace(finished, model_version=head.version, model_digest=head.digest)

    def summary(self, row: RoundRow) -> dict[str, object]:
        """What the journaled figures of a round say of clusters."""
        if not self.on:
            return {}
        clusters = by_cluster(self.living)
        decided = self.journal.decided(row.round - 1)
        told: dict[str, object] = {
            "cluster": row.cluster,
            "members": clusters.get(row.cluster, []),
            "clusters": clusters,
            "event": decided.event if decided is not None else "",
        }
        return {"cluster": told}

    # -- what a round shows -------------------------------------------------------------------------------------------

    async def seen(self, view: View, number: int, cluster: str, *, unit: float) -> None:
        """Keep the angles of a round's rows before the defence has its say; the same again after a restart.

        Args:
            view: of the clients' rows.
            number: of the round.
            cluster: whose it is.
            unit: what the rows' lengths are measured in: C behind masks, else 1.
        """
        if self.settings.method != "cfl" or len(view) < 2:
            return
        rows = RowAngles(view.names, view.gram() * unit**2, view.cosine_error)
        await self.journal.keep_rows(number, cluster, rows, kept=self.settings.window)

    # -- what follows from it -----------------------------------------------------------------------------------------

    async def between(self) -> None:
        """After a round: split its cluster, move who is on trial, take in who is new. Once for each round."""
        if not self.on:
            return
        last = self._store.last_round()
        number = 0 if last is None else last.round
        if last is not None and self.journal.decided(number) is None:
            await self._decide(last)
            crash.point("clusters-settled")
        if self.settings.method == "cfl" and (new := sorted(self._able() - self._entries.keys())):
            await self._apply(number, "joined-default" if number else "", self._joining(new))

    async def _decide(self, row: RoundRow) -> None:
        moves: list[Move] = []
        figures: dict[str, object] = {}
        begun: list[Begun] = []
        if self.settings.method == "cfl":
            found = self._look(row.cluster)
            figures = {key: value for key, value in dataclasses.asdict(found).items() if key != "parts"}
            if found.why == "split":
                begun, moves = self._split(row.cluster, found)
            else:
                moves = self._trials(row.cluster)
        event = "split" if begun else ""
        moves += self._small(moves)
        if not event and any(move.why == "small" for move in moves):
            event = "joined-default"
        await self.journal.decide(row.round, Decided(event, figures), moves, begun)
        self.reload()
        for each in begun:
            log.warning("cluster %s leaves cluster %s after round %d", each.cluster, row.cluster, row.round)

    async def _apply(self, number: int, event: str, moves: list[Move]) -> None:
        found = self.journal.decided(number)
        decided = Decided(event, {}) if found is None else Decided(event, found.figures)
        await self.journal.decide(number, decided, [*moves, *self._small(moves)])
        self.reload()

    def reload(self) -> None:
        """Read again who is where."""
        self._entries = self.journal.entries()

    def _joining(self, names: Iterable[str]) -> list[Move]:
        return [Move(name, DEFAULT, "joined-default") for name in names]

    def _look(self, cluster: str) -> Split:
        """Whether a cluster is two."""
        settings, changed = self.settings, self.journal.changed(cluster)
        turns = self.journal.turns(after=changed).get(cluster, 0)
        wait = settings.cooldown if changed else settings.warmup
        rounds = self.journal.rows(cluster)
        if turns < wait or not rounds:
            return Split()
        members = by_cluster(self.living).get(cluster, [])
        f = 0 if self._rule == "none" else tolerated(self._config.defence.f, len(members))
        limits = SplitLimits(settings.window, settings.eps1, settings.eps2, settings.separation, self.least)
        return look(self.journal.rows(cluster, after=changed), length_of(rounds[0]), members, limits, f)

    @property
    def _rule(self) -> str:
        return self._config.defence.rule_of(self._config.privacy.server_sees)

    def _split(self, cluster: str, found: Split) -> tuple[list[Begun], list[Move]]:
        """The smaller part goes on elsewhere; who stands between the parts is on trial where it is nearer."""
        new = str(1 + max(int(each) for each in self._store.lineage.clusters()))
        base = self._store.lineage.head(cluster).version
        moves = [
            Move(client, where, "trial" if client in found.unsure else "split")
            for where, part in zip((cluster, new), found.parts, strict=True)
            for client in part
        ]
        return [Begun(new, base, f"split from {cluster}")], moves

    def _trials(self, cluster: str) -> list[Move]:
        """Who is on trial in a cluster and was seen for long enough: stays, or goes on to the next one."""
        found = by_cluster(self.living)
        playing = [each for each, members in found.items() if len(members) >= self.least]
        sure = [name for name in found.get(cluster, []) if self._entries[name].why not in ON_TRIAL]
        if len(playing) < 2:
            return []
        moves: list[Move] = []
        leaving = 0
        for client in found.get(cluster, []):
            entry = self._entries[client]
            seen = agreement(self.journal.rows(cluster, after=entry.round), client, sure)
            if entry.why not in ON_TRIAL or seen is None or seen[2] < self.settings.window:
                continue
            score, between, _ = seen
            where = where_next(
                cluster, score, between=between, tried=self.journal.tried(client), clusters=sorted(playing, key=order)
            )
            if where != cluster and len(found[cluster]) - leaving <= self.least:
                continue  # who would leave the others too few to hide among stays
            leaving += where != cluster
            decided = where == cluster or where in self.journal.tried(client)
            moves.append(Move(client, where, "agrees" if decided else "trial", score))
        return moves

    def _small(self, moves: Iterable[Move]) -> list[Move]:
        """Clusters that have become too small join the default."""
        after = self.living
        after |= {move.client: move.cluster for move in moves if move.client in after or move.why == "joined-default"}
        return [
            Move(client, cluster, "small")
            for client, cluster in settled(after, self.least).items()
            if cluster != after[client]
        ]


def telling(clusters: Mapping[str, list[str]]) -> str:
    """The clusters and their sizes in a line, for the log."""
    return ", ".join(f"{cluster}: {len(members)}" for cluster, members in clusters.items())
