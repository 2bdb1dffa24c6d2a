"""Poisoned updates in a federation of real processes: refused by name in the clear, clipped or not sent when masked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from roughfed.codec.clip_schedule import CLIP_SHARE
from roughfed.deploy.attack.correlated_updates import related
from roughfed.deploy.attack.poison import POISONS, PoisonContext
from roughfed.params import read_flat
from roughfed.rng import derive, generator

from .attacks import AGREE, PARAMS, HostileCluster
from .federation import PATIENCE_S, value

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

GARBAGE = ("nan", "huge", "wrong-shape", "inflated-count")
CUT = 0.3
"""Norm that updates are cut to."""

ALONE = {"defence": {"rule": "none"}}
"""What admission does, without a rule that would leave out more."""

MASKED = {
    **ALONE,
    "codec": {"clip_norm": CUT / CLIP_SHARE, "lane_bits": 16, "downlink": "identity"},
}
CLEAR = {**ALONE, "privacy": {"server_sees": "updates"}, "codec": {"downlink": "identity"}}


def crowd_of(attacks: Mapping[str, str], honest: int, flags: str = "none") -> dict[str, str]:
    names = [f"h{i}" for i in range(honest)]
    return dict(attacks) | dict.fromkeys(names, flags)


def seed_of(cluster: HostileCluster, name: str) -> int:
    return derive(cluster.seed, "client", name, 1)


def trained(cluster: HostileCluster, name: str) -> np.ndarray:
    """What a client trains in the first round, float32 [D]."""
    return np.concatenate(list(related(PARAMS, seed_of(cluster, name), round_number=1, agree=AGREE)))


def first_step(cluster: HostileCluster) -> np.ndarray:
    """What the first round moved the model by (it starts at zero), float32 [D]."""
    return np.array(read_flat(cluster.place.state / "models" / f"{cluster.model_digests()[1]}.safetensors"))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_garbage_in_the_clear_is_refused_by_name_and_its_sender_hears_why(tmp_path: Path) -> None:
    """The last honest client takes its time, so that the server can be asked to pause before the second round."""
    crowd = crowd_of({name: name for name in GARBAGE}, 5)
    crowd["h4"] += " --pace 1"
    with HostileCluster(tmp_path, crowd, rounds=2, settings=CLEAR) as cluster:
        server = cluster.start_paused_server()
        clients = cluster.start_attackers()
        cluster.control(op="pause")
        with cluster.watch() as watch:
            watch.until(lambda s: s["model_version"] == 1)
        page, step = cluster.page("/metrics"), first_step(cluster)
        cluster.control(op="resume")
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0

        found = {"nan": "not-finite", "huge": "magnitude", "wrong-shape": "client-refused: schema"}
        assert [POISONS[name].refused for name in found] == ["not-finite", "magnitude", "schema"]
        for row in cluster.journal().values():
            assert row["outcome"] == "committed"
            assert row["sets"] == dict.fromkeys(crowd, "") | found
        for reason in ("not-finite", "magnitude", "schema"):
            assert value(page, "roughfed_updates_rejected_total", reason=reason) == 1
        for name, reason in found.items():
            assert clients[name].find(f"round 2 committed; this client's update: excluded ({reason})")
        assert clients["nan"].find("round 1: the update has values that are NaN or infinite")
        assert clients["wrong-shape"].find(f"round 1: {4 * PARAMS - 4} bytes announced, an update has {4 * PARAMS}")
        capped = 3  # examples: as many times the median at most
        honest = [trained(cluster, name) for name in crowd if name not in GARBAGE]
        wanted = (np.sum(honest, axis=0) - capped * trained(cluster, "inflated-count")) / (len(honest) + capped)
        assert apart(step, wanted) < 1e-4


def test_garbage_is_clipped_or_zero_where_it_is_masked(tmp_path: Path) -> None:
    crowd = crowd_of({name: name for name in GARBAGE}, 5)
    with HostileCluster(tmp_path, crowd, rounds=1, settings=MASKED) as cluster:
        server = cluster.start_paused_server()
        clients = cluster.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0
        found = {"wrong-shape": "client-refused: schema"}
        assert cluster.journal()[1]["sets"] == dict.fromkeys(crowd, "") | found
        assert cluster.proofs() == {}
        assert clients["nan"].find("zeros go: to fail would tell of the data")
        for name, reason in found.items():
            assert clients[name].find(f"round 1 committed; this client's update: excluded ({reason})")
        updates = {name: trained(cluster, name) for name in crowd if name not in found}
        updates["nan"] = np.zeros_like(updates["nan"])  # behind masks nobody hears of it
        updates["inflated-count"] *= -1  # counts are not sent: it weighs as much as any other
        signs = -np.sign(updates["huge"])
        updates["huge"] = signs * (CUT / np.linalg.norm(signs))
        assert apart(first_step(cluster), np.mean(list(updates.values()), axis=0)) < 0.01


@pytest.mark.parametrize("attack", ["min-max", pytest.param("ipm --jitter 0.3", marks=pytest.mark.slow)])
def test_what_colluders_craft_of_one_anothers_updates_is_in_the_masked_sum(tmp_path: Path, attack: str) -> None:
    name, _, jitter = attack.partition(" --jitter ")
    flags = f"{attack} --colluders {tmp_path / 'socket'} --of 3"
    crowd = crowd_of(dict.fromkeys(("a0", "a1", "a2"), flags), 5)
    with HostileCluster(tmp_path, crowd, rounds=1, settings=MASKED) as cluster:
        server = cluster.start_paused_server()
        cluster.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0
        assert cluster.journal()[1]["sets"] == dict.fromkeys(crowd, "")
        updates = {client: trained(cluster, client) for client in crowd}
        known = np.stack([updates[client] for client in ("a0", "a1", "a2")])
        crafted = {}
        for client in ("a0", "a1", "a2"):
            rng = generator(seed_of(cluster, client), "poison")
            scene = PoisonContext(known, updates[client], 15, 3, rng, fellows=known)
            crafted[client] = POISONS[name].craft(scene, jitter=float(jitter or 0))
        step = first_step(cluster)
        assert apart(step, np.mean(list((updates | crafted).values()), axis=0)) < 0.01
        assert apart(np.mean(list(updates.values()), axis=0), step) > 0.1
