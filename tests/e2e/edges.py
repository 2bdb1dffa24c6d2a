"""Two levels of real processes: a server at the top, edge aggregators that are its clients, and their own clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from roughfed.deploy.speed.recompute_masked import Clients, made_up
from roughfed.deploy.synthetic import pieces
from roughfed.digest import content_digest
from roughfed.rng import derive

from .federation import Cluster, is_connected
from .masked import SECRET_SEED, played
from .process import Process, Server

Given = tuple[np.ndarray, np.float32]
"""What an edge gives: float32 [D], and the weight that it counts with above."""

Tables = Mapping[str, Mapping[str, object]]


class Edge(Cluster):
    """A cluster whose server is a client of another one's."""

    def __init__(self, folder: Path, top: Cluster, name: str, clients: Sequence[str], settings: Tables) -> None:
        round_ = {"min_clients": len(clients), **settings.get("round", {})}
        super().__init__(
            folder,
            clients=len(clients),
            rounds=top.rounds,
            params=top.params,
            settings={**settings, "round": round_},
            secret_seed=SECRET_SEED,
        )
        self.top, self.name, self.names = top, name, list(clients)

    def begin(self, *, crash_at: str = "") -> Server:
        """Start the server half and the client half; the first time with a join line of the top's."""
        enrolled = (self.place.folder / "upstream").exists()
        env = {} if enrolled else self.invited()
        return self.start_server(crash_at=crash_at, env=env, claims=["--upstream"])

    def invited(self, line: str = "") -> dict[str, str]:
        """Environment of a first start: a join line of the top's, and its owner's word that the top may see so much."""
        sees = str(self.top._settings["privacy"]["server_sees"])
        return {"ROUGHFED_UPSTREAM": line or self.top.invite(self.name), "ROUGHFED_POLICY__SERVER_SEES": sees}

    def mean(self, number: int) -> Given:
        """What it gives in a round, computed again from the seeds of all its clients, and the examples behind it."""
        total = np.zeros(self.params, dtype=np.float32)
        weights = [np.float32(self.examples.get(name, 1)) for name in sorted(self.names)]
        for name, weight in zip(sorted(self.names), weights, strict=True):
            total += np.concatenate(list(pieces(self.params, derive(self.seed, "client", name, number)))) * weight
        return total / np.float32(sum(weights)), np.float32(sum(weights))

    def mean_for(self, number: int) -> np.ndarray:
        """What it gave for a round of the top, whichever of its own rounds that was; all of its clients are in it."""
        sql = "SELECT models.round FROM orders JOIN models ON models.base = orders.version WHERE models.round > 0"
        (row,) = self.rows(f"{sql} AND orders.round = {number}")
        return self.mean(row["round"])[0]

    def masked_means(self) -> list[Given]:
        """The same of each round that it committed behind masks; each client counts alike."""
        clients = Clients(made_up(self.params, self.seed), SECRET_SEED)
        return [(clients.mean(each), np.float32(len(each.accepted))) for each in played(self) if each.accepted]


class Tree:
    """A top and its edges: `edges` says who is under which."""

    def __init__(
        self,
        folder: Path,
        edges: Mapping[str, Sequence[str]],
        *,
        rounds: int,
        params: int,
        top: Tables | None = None,
        below: Tables | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.top = Cluster(folder / "top", clients=len(edges), rounds=rounds, params=params, settings=top or {})
        self.edges = {
            name: Edge(folder / name, self.top, name, clients, below or {}) for name, clients in edges.items()
        }

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for cluster in (*self.edges.values(), self.top):
            cluster.__exit__(kind, *rest)

    def begin(self, **crash_at: str) -> dict[str, list[Process]]:
        """Start all; `crash_at`: of edges by name, which have their clients before the top has all edges it needs."""
        self.top.start_server().ready()
        clients: dict[str, list[Process]] = {}
        for name in sorted(self.edges, key=lambda name: name not in crash_at):
            (edge := self.edges[name]).begin(crash_at=crash_at.get(name, "")).ready()
            clients[name] = edge.start_clients()
            if name in crash_at:
                with edge.watch() as watch:
                    watch.until(lambda status, edge=edge: all(is_connected(status, each) for each in edge.names))
        return clients

    def expected(self, rounds: Sequence[Mapping[str, Given]] | None = None) -> list[str]:
        """Digest of each of the top's versions: means of what the edges give.

        Args:
            rounds: of each committed round at the top, what each edge gave; without, calm rounds in the clear.
        """
        calm = [{name: edge.mean(n) for name, edge in self.edges.items()} for n in range(1, self.top.rounds + 1)]
        params = np.zeros(self.top.params, dtype=np.float32)
        digests = [content_digest(memoryview(params).cast("B")).hex()]
        for given in calm if rounds is None else rounds:
            total, weights = np.zeros_like(params), np.float32(0)
            for mean, weight in (given[name] for name in sorted(given)):
                total, weights = total + mean * weight, weights + weight
            params = params + total / weights
            digests.append(content_digest(memoryview(params).cast("B")).hex())
        return digests
