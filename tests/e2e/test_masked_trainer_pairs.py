"""A trainer dies where it keeps its state, then its agent at a random point: masked, with real trainers.

Either may cost the client a round. All others are in every sum, nobody is held for a liar, and what the client keeps is
there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roughfed.crash import TRAINER_POINTS

from .federation import KILLED
from .test_masked_crash import CLIENT
from .trained import BUSY_S, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

ONCE = sorted(point for point in CLIENT if ":" not in point)
SETTINGS: dict[str, dict[str, object]] = {
    "trainer": {"method": "elr", "epochs": 1},
    "privacy": {"server_sees": "sketches"},
    "round": {"deadline": "400s", "quorum": 1.0, "min_clients": 5},
    "defence": {"rule": "none"},
}


@pytest.mark.parametrize("at", sorted(TRAINER_POINTS))
def test_a_trainer_dies_and_then_its_agent(at: str, tmp_path: Path) -> None:
    then = str(np.random.default_rng(list(at.encode())).choice(ONCE))
    print(f"{at}, then {then}")
    with Trained(tmp_path, clients=5, rounds=3, settings=SETTINGS) as cluster:
        cluster.crash_at["c0"] = at
        cluster.begin()
        cluster.agents["c0"].wait_line("local training failed", timeout_s=BUSY_S)
        cluster.agents["c0"].kill()
        cluster.crash_at["c0"] = then
        cluster.join("c0")
        assert cluster.agents["c0"].wait(timeout_s=BUSY_S) == KILLED
        cluster.join("c0")
        digests = cluster.end()
        assert len(set(digests)) == 4
        assert len(cluster.accepted()) == 3
        assert all(set(names) >= {"c1", "c2", "c3", "c4"} for names in cluster.accepted().values())
        assert cluster.rows("SELECT * FROM proofs") == []
        assert cluster.rows("SELECT * FROM refusals") == []
        assert cluster.state("c0", cluster.shared())
