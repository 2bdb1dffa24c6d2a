"""Hostile clients in a federation of real processes: who lies is named in that round, alone, and is out of the next."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from roughfed.codec.clip_schedule import CLIP_SHARE
from roughfed.deploy.attack import ATTACKS
from roughfed.deploy.attack.correlated_updates import related
from roughfed.deploy.cli import app as cli
from roughfed.params import read_flat
from roughfed.rng import derive

from .attacks import AGREE, HONEST, PARAMS, HostileCluster
from .federation import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

LEAN = ("false-sketch", "dispute-everybody", "false-tags")
LONG = (
    ("bad-deal", "bad-share", "loud-upload", "false-pair-sketch", "wrong-answer", "false-self-mask"),
    ("false-complaint", "bad-shares", "over-bound", "sketch-lie", "false-pair-mask"),
)
CUT = 0.3
"""Norm that updates are cut to."""

EIGHT = [f"h{i}" for i in range(8)]


def test_the_tables_name_every_lie_that_can_be_proved() -> None:
    assert sorted(name for part in (LEAN, *LONG) for name in part) == sorted(n for n, a in ATTACKS.items() if a.proof)


def play(folder: Path, attacks: Sequence[str]) -> None:
    """One liar after another, each in a round of its own, among five honest clients."""
    crowd = {name: f"{name} --after {number}" for number, name in enumerate(attacks)} | dict.fromkeys(HONEST, "none")
    committed = 1 + sum(not ATTACKS[name].voids for name in attacks)
    with HostileCluster(folder, crowd, rounds=committed) as cluster:
        server = cluster.start_paused_server()
        clients = cluster.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0
        assert [clients[name].wait() for name in HONEST] == [0] * len(HONEST)
        rounds = cluster.journal()

        assert cluster.proofs() == {name: (number, ATTACKS[name].proof) for number, name in enumerate(attacks, 1)}
        assert list(rounds) == list(range(1, len(attacks) + 2))
        for number, name in enumerate(attacks, 1):
            attack, row = ATTACKS[name], rounds[number]
            others = row["cohort"] - {name}
            assert row["cohort"] == {*HONEST, *attacks[number - 1 :]}  # whoever lied before is not asked
            assert row["void"] == (["a sketch was false"] if attack.proof == "false-sketch" else row["void"])
            assert len(row["void"]) == attack.voids
            assert row["outcome"] == ("abandoned" if attack.voids else "committed")
            assert row["sets"][name] == attack.verdict
            assert {row["sets"][other] for other in others} == ({"void"} if attack.voids else {""})
            assert server.find(f"{name} is proved to have broken the protocol ({attack.proof})")
        assert rounds[len(attacks) + 1]["cohort"] == set(HONEST)
        assert rounds[len(attacks) + 1]["outcome"] == "committed"
        assert "Traceback" not in "\n".join(server.lines)


def test_whoever_lies_is_named_in_that_round_alone_and_is_out_of_the_next(tmp_path: Path) -> None:
    play(tmp_path, LEAN)
    where = ["--dir", str(tmp_path / "server")]
    assert cli.run(["release", "false-tags", *where]) == 0
    assert cli.run(["release", "false-tags", *where]) == 2  # nobody is released twice


@pytest.mark.slow
@pytest.mark.parametrize("attacks", LONG, ids=["first", "second"])
def test_every_lie_that_can_be_proved_is(tmp_path: Path, attacks: Sequence[str]) -> None:
    play(tmp_path, attacks)


@pytest.mark.slow
def test_a_false_tag_to_one_mate_costs_nothing(tmp_path: Path) -> None:
    with HostileCluster(tmp_path, {"x": "false-tag"} | dict.fromkeys(HONEST, "none"), rounds=1) as cluster:
        server = cluster.start_paused_server()
        cluster.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0
        assert cluster.journal()[1]["sets"] == dict.fromkeys(cluster.names, "")
        assert cluster.proofs() == {}


@pytest.mark.slow
def test_who_is_silent_at_unmask_three_times_is_suspended_until_it_is_released(tmp_path: Path) -> None:
    crowd = {"x": "silent-at-unmask --after 1", **dict.fromkeys([*HONEST, "h5"], "none")}
    with HostileCluster(tmp_path, crowd, rounds=7) as cluster:
        server = cluster.start_paused_server(stage_s=5.0)
        cluster.start_attackers()
        server.wait_line("x is suspended (silent in 3 rounds)", timeout_s=3 * PATIENCE_S)
        with cluster.watch() as watch:
            shown = watch.until(lambda s: s["round"] > 4)
        assert shown["quarantined"] == {"x": "silent in 3 rounds"}
        assert cli.run(["release", "x", "--dir", str(cluster.place.folder)]) == 0
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0
        rounds = cluster.journal()
        assert [row["outcome"] for row in rounds.values()] == ["committed"] * 7
        asked = [number for number, row in rounds.items() if "x" in row["cohort"]]
        assert asked[:4] == [1, 2, 3, 4]
        assert 5 not in asked
        assert {row["sets"]["x"] for row in rounds.values() if "x" in row["cohort"]} == {""}  # its input is in the sum
        assert cluster.proofs() == {}
        silences = cluster.rows("SELECT round FROM notes WHERE client = 'x' AND released_at IS NOT NULL")
        assert [row["round"] for row in silences] == [2, 3, 4]


@pytest.mark.slow
def test_who_sends_no_sketch_is_left_out_alone(tmp_path: Path) -> None:
    with HostileCluster(tmp_path, {"x": "silent-at-sketch"} | dict.fromkeys(HONEST, "none"), rounds=1) as cluster:
        server = cluster.start_paused_server(stage_s=10.0)
        cluster.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0
        assert cluster.journal()[1]["sets"] == dict.fromkeys(HONEST, "") | {"x": "no-sketch"}


def crowd_of_ten() -> dict[str, str]:
    return {"flip": "sign-flip", "loud": "scale"} | dict.fromkeys(EIGHT, "none")


def mean_of(cluster: HostileCluster, factors: Mapping[str, float]) -> np.ndarray:
    """The first step, were the updates averaged that the clients make from their seeds; float32 [D]."""
    updates = [factor * update_of(cluster, name) for name, factor in factors.items()]
    return np.mean(updates, axis=0)


def update_of(cluster: HostileCluster, name: str) -> np.ndarray:
    seed = derive(cluster.seed, "client", name, 1)
    return np.concatenate(list(related(PARAMS, seed, round_number=1, agree=AGREE)))


def first_step(folder: Path, crowd: Mapping[str, str], rule: str) -> tuple[HostileCluster, dict[str, str], np.ndarray]:
    """One round; the cluster, its verdicts and what the model moved by (it starts at zero)."""
    settings = {
        "defence": {"rule": rule, "f": 0.2},
        "codec": {"clip_norm": CUT / CLIP_SHARE, "lane_bits": 16, "downlink": "identity"},
    }
    with HostileCluster(folder, crowd, rounds=1, settings=settings) as cluster:
        server = cluster.start_paused_server()
        cluster.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0
        model = cluster.place.state / "models" / f"{cluster.model_digests()[1]}.safetensors"
        assert cluster.proofs() == {}
        return cluster, cluster.journal()[1]["sets"], np.array(read_flat(model))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def honest(names: Iterable[str]) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


def test_turned_and_loud_updates_are_told_by_their_sketches_and_do_not_move_the_model(tmp_path: Path) -> None:
    cluster, verdicts, step = first_step(tmp_path, crowd_of_ten(), "multi-krum")
    assert verdicts == dict.fromkeys(EIGHT, "") | dict.fromkeys(("flip", "loud"), "multi-krum")
    assert apart(step, mean_of(cluster, honest(EIGHT))) < 0.01  # what a run without them comes to
    clipped = CUT / float(np.linalg.norm(update_of(cluster, "loud")))
    assert apart(mean_of(cluster, honest(EIGHT) | {"flip": -1.0, "loud": clipped}), step) > 0.1


@pytest.mark.slow
def test_a_run_without_them_comes_to_the_same_model_and_one_without_a_defence_does_not(tmp_path: Path) -> None:
    _, _, kept = first_step(tmp_path / "defended", crowd_of_ten(), "multi-krum")
    alone = dict.fromkeys(EIGHT, "none")
    _, verdicts, undisturbed = first_step(tmp_path / "undisturbed", alone, "none")
    _, disturbed_verdicts, disturbed = first_step(tmp_path / "undefended", crowd_of_ten(), "none")
    assert verdicts == dict.fromkeys(EIGHT, "")
    assert set(disturbed_verdicts.values()) == {""}
    assert apart(kept, undisturbed) < 0.01
    assert apart(disturbed, undisturbed) > 0.1
