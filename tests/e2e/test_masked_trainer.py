"""A trainer dies where it keeps its state, alone, or and then its agent at a random point: masked, with real trainers.

Alone it costs nothing: another trainer is started, and trains the same. With its agent it may cost the client a round.
All others are in every sum, nobody is held for a liar, what the client keeps is there, and every version is, to the
bit, what those trained that were accepted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roughfed.crash import TRAINER_POINTS

from .federation import KILLED
from .ledger import is_accounted_for
from .noted import Noted
from .test_masked_crash import CLIENT
from .trained import BUSY_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

TRAINER = sorted(TRAINER_POINTS)
OF_AGENT = sorted(point for point in CLIENT if ":" not in point and point != "upload-cut")
"""An update of this model is one chunk: no upload is ever cut between two."""
SETTINGS: dict[str, dict[str, object]] = {
    "trainer": {"method": "elr", "epochs": 1},
    "round": {"deadline": "400s", "quorum": 1.0, "min_clients": 5},
    "defence": {"rule": "none"},
}


def goes_on_as_it_began(cluster: Noted) -> None:
    """And nobody but c0 has lost anything."""
    assert cluster.is_exact()
    assert len(cluster.accepted()) == cluster.rounds
    assert all(set(names) >= {"c1", "c2", "c3", "c4"} for names in cluster.accepted().values())
    assert cluster.rows("SELECT * FROM proofs") == []
    assert cluster.rows("SELECT * FROM refusals") == []
    assert is_accounted_for(cluster)
    assert cluster.state("c0", cluster.shared())


@pytest.mark.parametrize("at", TRAINER)
def test_a_trainer_dies(at: str, tmp_path: Path) -> None:
    """In each round but the first: the one that is started in its place dies in its own second training."""
    with Noted(tmp_path, clients=5, rounds=3, settings=SETTINGS) as cluster:
        cluster.crash_at["c0"] = f"{at}:2"
        cluster.begin()
        cluster.end()
        goes_on_as_it_began(cluster)
        assert cluster.accepted() == dict.fromkeys((1, 2, 3), cluster.names)
        assert cluster.trainers_started("c0") == 3


@pytest.mark.parametrize("at", TRAINER)
def test_a_trainer_dies_and_then_its_agent(at: str, pairs_seed: int, tmp_path: Path) -> None:
    then = str(np.random.default_rng([pairs_seed, *at.encode()]).choice(OF_AGENT))
    print(f"--pairs-seed {pairs_seed}: {at}, then {then}")
    with Noted(tmp_path, clients=5, rounds=3, settings=SETTINGS) as cluster:
        cluster.crash_at["c0"] = at
        cluster.begin()
        cluster.agents["c0"].wait_line("local training failed", timeout_s=BUSY_S)
        cluster.agents["c0"].kill()
        cluster.crash_at["c0"] = then
        cluster.join("c0")
        assert cluster.agents["c0"].wait(timeout_s=BUSY_S) == KILLED
        cluster.join("c0")
        cluster.end()
        goes_on_as_it_began(cluster)
