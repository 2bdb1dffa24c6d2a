"""Whole runs of clusters on the real journal, without clients: rounds are rows, updates are drawn."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.config import FederationConfig
from roughfed.messages import Finished
from roughfed.server.defence import view_of_arrays
from roughfed.server.extensions.clusters.members import by_cluster
from roughfed.server.extensions.clusters.schedule import ClusterSchedule
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Signed, Spec, TensorSpec

SIZE = 300
SPEC = Spec((TensorSpec("w", (SIZE,)),))
ROUNDS = 12
NEVER = Finished("rounds", 0, b"")


@dataclass
class Run:
    """A federation's clusters and what its clients pull at.

    Attributes:
        family: client -> the way it goes; None goes its own.
        here: who is connected.
        again: makes the process anew before a step: all that it knows is the journal.
    """

    folder: Path
    family: dict[str, int | None]
    settings: dict[str, Any] = field(default_factory=dict)
    here: set[str] = field(default_factory=set)
    again: Callable[[], bool] = lambda: False
    seed: int = 0

    def __post_init__(self) -> None:
        self.store = Store(self.folder)
        self.here = self.here or set(self.family)
        tables: dict[str, Any] = {
            "privacy": {"server_sees": "updates"},
            "round": {"rounds": ROUNDS},
            "clusters": {"method": "cfl", "warmup": 3, "smallest": 4} | self.settings,
            "defence": {"f": 0.1},
        }
        self.config = FederationConfig.model_validate(tables)
        if self.store.run() is None:
            self.do(self.store.create_run("run-1", SPEC, bytes(32), 1.0))
        self.clusters = self.fresh()
        self.ways = np.random.default_rng(self.seed).normal(size=(3, SIZE))
        self.number = 0 if (last := self.store.last_round()) is None else last.round

    def fresh(self) -> ClusterSchedule:
        return ClusterSchedule(self.config, self.store, lambda: set(self.here))

    def do(self, work: Any) -> Any:
        return asyncio.run(work)

    def step(self) -> str:
        """What follows from the last round, then another one; returns whose it was."""
        for _ in range(2):  # decided once, whoever asks again
            if self.again():
                self.clusters = self.fresh()
            self.do(self.clusters.between())
        cluster = self.clusters.turn()
        self.number += 1
        members = [name for name in sorted(self.here) if self.clusters.plays(name, cluster)]
        head = self.store.lineage.head(cluster)
        header = Signed(json.dumps([self.number, head.version]).encode(), bytes(64), "server")
        self.do(
            self.store.open_round(
                RoundRow(self.number, header, tuple(members), 1, 1.0, None, None, None, cluster=cluster)
            )
        )
        view = view_of_arrays({name: self.update(name, cluster) for name in members}, kind="updates")
        for _ in range(2):  # judged again after a restart
            self.do(self.clusters.seen(view, self.number, cluster, unit=1.0))
        self.do(self.store.set_sets(self.number, dict.fromkeys(members, "")))
        version = self.store.latest_model()[0] + 1
        self.do(
            self.store.commit(self.number, version=version, digest=bytes([version]) * 32, now=1.0, base=head.version)
        )
        return cluster

    def update(self, name: str, cluster: str) -> np.ndarray:
        """Its way, less what its cluster has in common while that is mixed, and much noise."""
        rng = np.random.default_rng([self.seed, self.number, *name.encode()])
        families = [family for other, family in self.family.items() if self.clusters.plays(other, cluster)]
        mean = np.mean([self.ways[f] if f is not None else np.zeros(SIZE) for f in families], axis=0)
        own = self.family[name]
        way = rng.normal(size=SIZE) if own is None else self.ways[own]
        return (way - 0.8 * mean + 0.8 * rng.normal(size=SIZE)).astype(np.float32)

    def play(self, steps: int) -> list[str]:
        return [self.step() for _ in range(steps)]

    @property
    def found(self) -> list[set[str]]:
        return [set(members) for members in by_cluster(self.clusters.membership).values()]


def names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def planted(**sizes: int) -> dict[str, int | None]:
    """Clients of families 0, 1, 2 by letter."""
    return {name: at for at, (letter, count) in enumerate(sizes.items()) for name in names(letter, count)}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_families_are_split_and_take_turns_to_the_end(tmp_path: Path, seed: int) -> None:
    run = Run(tmp_path, planted(a=7, b=6, c=5), seed=seed)
    whose: list[str] = []
    while not run.clusters.over():
        whose.append(run.step())
    assert sorted(map(sorted, run.found)) == [names("a", 7), names("b", 6), names("c", 5)]
    heads = run.store.lineage.heads()
    assert {head.depth for head in heads.values()} == {ROUNDS}
    assert len(heads) == 3
    last = whose[-6:]
    assert all({last[at], last[at + 1], last[at + 2]} == set(heads) for at in (0, 3))  # in turn
    for cluster, members in by_cluster(run.clusters.membership).items():
        assert run.clusters.farewell(NEVER, members[0]).model_version == heads[cluster].version
    run.store.close()


def test_a_server_that_dies_at_every_step_comes_to_the_same(tmp_path: Path) -> None:
    found: list[Any] = []
    for name, again in (("calm", lambda: False), ("dying", lambda: True)):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, planted(a=7, b=6), again=again)
        whose = run.play(8)
        moves = run.store.journal.read("SELECT * FROM cluster_moves ORDER BY seq")
        models = run.store.journal.read("SELECT version, cluster, base, depth FROM models ORDER BY version")
        found.append((whose, [tuple(row) for row in moves], [tuple(row) for row in models]))
        run.store.close()
    assert found[0] == found[1]
    assert len({place for _, place, *_ in found[0][2]}) > 1


def test_a_child_goes_on_from_its_parents_model_with_its_rounds_behind_it(tmp_path: Path) -> None:
    run = Run(tmp_path, planted(a=7, b=6))
    whose = run.play(10)
    split = whose.index("1")
    first = next(each for each in run.store.lineage.all() if each.cluster == "1")
    parent = run.store.lineage.version(first.base)
    assert parent is not None
    assert parent.cluster == DEFAULT
    assert first.depth == parent.depth + 1
    assert run.clusters.place(split + 1, "1") == first.depth
    assert run.clusters.fact(split + 1, "1") == {"turn": (float(first.depth),)}
    told = run.clusters.summary(next(row for row in run.store.rounds() if row.cluster == "1"))["cluster"]
    assert told["members"] == names("b", 6)
    run.store.close()


def test_a_newcomer_finds_its_family_and_who_was_away_keeps_its_cluster(tmp_path: Path) -> None:
    run = Run(tmp_path, planted(a=7, b=6) | {"late": 1, "mine": 0}, here={*names("a", 7), *names("b", 6)})
    run.play(8)
    run.here -= {"b0"}
    run.here |= {"late", "mine"}
    run.play(1)
    assert run.clusters.cluster_of("late") == DEFAULT  # until it was seen
    run.play(9)
    run.here |= {"b0"}
    run.play(2)
    assert {run.clusters.cluster_of(name) for name in ("late", "b0", "b1")} == {"1"}
    assert run.clusters.cluster_of("mine") == DEFAULT
    why = [tuple(row) for row in run.store.journal.read("SELECT cluster, why FROM cluster_moves WHERE client = 'late'")]
    assert why[0] == (DEFAULT, "joined-default")
    assert why[-1] == ("1", "agrees")
    run.store.close()


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        pytest.param(planted(a=14), {}, marks=pytest.mark.slow),  # one law
        (planted(a=11, b=3), {}),  # three could not hide
        pytest.param(dict.fromkeys(names("x", 12)), {}, marks=pytest.mark.slow),  # everybody goes its own way
    ],
)
def test_what_is_no_cluster_is_not_split(
    tmp_path: Path, family: dict[str, int | None], settings: dict[str, Any]
) -> None:
    run = Run(tmp_path, family, settings)
    assert set(run.play(6)) == {DEFAULT}
    assert len(run.found) == 1
    run.store.close()


@pytest.mark.slow
def test_a_cluster_that_becomes_too_small_joins_the_default(tmp_path: Path) -> None:
    run = Run(tmp_path, planted(a=7, b=5))
    run.play(8)
    assert len(run.found) == 2
    run.clusters = ClusterSchedule(
        FederationConfig.model_validate(run.config.model_dump() | {"clusters": {"method": "cfl", "smallest": 6}}),
        run.store,
        lambda: set(run.here),
    )
    run.play(1)
    assert run.found == [set(run.family)]
    rows = run.store.journal.read("SELECT event FROM cluster_decided ORDER BY round DESC LIMIT 1")
    assert rows[0]["event"] == "joined-default"
    run.store.close()


def test_without_clusters_nothing_is_kept_and_everybody_plays(tmp_path: Path) -> None:
    run = Run(tmp_path, planted(a=4), {"method": "none", "warmup": 5, "smallest": 0})
    assert run.play(3) == [DEFAULT] * 3
    assert run.store.journal.read("SELECT * FROM cluster_rows") == []
    assert run.store.journal.read("SELECT * FROM cluster_decided") == []
    assert [each.base for each in run.store.lineage.all()] == [-1, 0, 1, 2]
    assert not run.clusters.summary(run.store.rounds()[0])
    run.store.close()
