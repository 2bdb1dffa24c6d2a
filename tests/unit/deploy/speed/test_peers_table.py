"""`roughfed bench peers` without the peers: what it reads, the table, and the ends of processes."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from roughfed.deploy.speed.measure import ProcessTrack
from roughfed.deploy.speed.options import BenchWork, PeersOptions
from roughfed.deploy.speed.peers import compare, run_flower
from roughfed.deploy.speed.peers.compare import run_peers_bench
from roughfed.deploy.speed.peers.crew import CLIENT, SERVER, Crew, alive, free_ports
from roughfed.deploy.speed.peers.notes import Rounds, check_mean, of_flower, of_nvflare
from roughfed.deploy.speed.peers.peer import environment, find
from roughfed.deploy.speed.peers.run_nvflare import last_json
from roughfed.deploy.speed.peers.table import Row, lines, middle, ratios, row_of
from roughfed.errors import ConfigError, RoughfedError

WORK = BenchWork(clients=4, params=100, rounds=3, timeout_s=20.0)
OURS = Row("roughfed", "1", 0.2, 0.2, 0.2, 0.1, 50.0)
PEER = Row("Other", "2", 4.0, 3.5, 4.5, 2.0, 200.0)


def noted(answers: tuple[int, ...] = (4, 4, 4), mean: float = 0.03) -> str:
    """What Flower's strategy writes: rounds that begin at 100, 110 and 118 s, and an end at 124 s."""
    times = (100.0, 110.0, 118.0)
    told: list[dict[str, float]] = []
    for number, (begins, count) in enumerate(zip(times, answers, strict=True), start=1):
        told += [{"time": begins, "begins": number}, {"time": begins + 5, "answers": count}]
    told.append({"time": 124.0, "ends": 1, "lowest": mean, "highest": mean})
    return "\n".join(map(json.dumps, told))


def logged(whole: int = 3, rounds: int = 3) -> list[str]:
    """NVFlare's log: a round every 2.5 s from 0."""
    told: list[tuple[float, str]] = [(0.0, "Start FedAvg.")]
    for number in range(rounds):
        at = 2.5 * number
        told += [(at, f"\n-----\n   Round {number} started.   \n-----\n"), (at + 1, "Aggregated 3/4 results")]
        told += [(at + 1, "Aggregated 4/4 results")] * (number < whole)
    told.append((2.5 * rounds, "\n====\n   Finished FedAvg.   \n====\n"))
    stamp = "2026-01-31 12:00:{:02d},{:03d}"
    entries = [{"asctime": stamp.format(int(at), round(at % 1 * 1000)), "message": text} for at, text in told]
    return [*map(json.dumps, entries), "not a line of JSON"]


def test_a_round_lasts_until_the_next_one_begins_and_the_first_does_not_count() -> None:
    rounds = of_flower(noted(), rounds=3, clients=4)

    assert rounds.seconds == (8.0, 6.0)
    assert rounds.seconds_per_round == 7.0
    assert rounds.window == (110.0, 124.0)


def test_nvflares_log_is_read() -> None:
    rounds = of_nvflare(logged(), rounds=3, clients=4)

    assert rounds.seconds == pytest.approx((2.5, 2.5))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "began 0 of 3"),
        (noted(answers=(4, 3, 4)), "not all of 4 clients"),
        (noted(mean=0.02), "0.03 was to be"),
        (noted().rpartition("\n")[0], "did not say that it ended"),
    ],
)
def test_a_run_of_flower_that_did_not_do_the_work_is_no_result(text: str, why: str) -> None:
    with pytest.raises(RoughfedError, match=why):
        of_flower(text, rounds=3, clients=4)


@pytest.mark.parametrize(("log", "why"), [(logged(rounds=2), "2 of 3 rounds"), (logged(whole=2), "in 2 of 3")])
def test_a_run_of_nvflare_that_did_not_do_the_work_is_no_result(log: list[str], why: str) -> None:
    with pytest.raises(RoughfedError, match=why):
        of_nvflare(log, rounds=3, clients=4)


def test_the_result_of_nvflares_job_is_its_last_line_of_json() -> None:
    assert last_json('noise\n{"lowest": 1}\n{"lowest": 2}\nbye\n') == {"lowest": 2}
    with pytest.raises(RoughfedError, match="did not say"):
        last_json("{'name': 'python, not JSON'}\n")


def test_secagg_may_round_and_a_lost_round_may_not() -> None:
    check_mean({"lowest": 0.029995, "highest": 0.030004}, rounds=3)
    with pytest.raises(RoughfedError):
        check_mean({"lowest": float("nan"), "highest": 0.03}, rounds=3)


def test_a_row_counts_processor_seconds_of_the_counted_rounds_alone() -> None:
    track = ProcessTrack(times=[90.0, 110.0, 124.0], cpu=[0.0, 50.0, 56.0])

    row = row_of("Other", "2", Rounds((100.0, 110.0, 118.0), 124.0), track, 3 << 20)

    assert (row.cpu_seconds_per_round, row.fastest, row.slowest, row.server_peak_mib) == (3.0, 6.0, 8.0, 3.0)


def test_ratios_are_times_ours() -> None:
    assert ratios(OURS, [PEER]) == {
        "Other": {"seconds_per_round": 20.0, "cpu_seconds_per_round": 20.0, "server_peak_mib": 4.0}
    }
    idle = Row("roughfed", "1", 0.2, 0.2, 0.2, 0.0, 50.0)
    assert ratios(idle, [PEER])["Other"]["cpu_seconds_per_round"] is None


def test_several_runs_of_ours_are_their_medians() -> None:
    runs = [Row("roughfed", "1", s, s, s, s, 10 * s) for s in (1.0, 9.0, 2.0)]

    assert middle(runs) == Row("roughfed", "1", 2.0, 1.0, 9.0, 2.0, 20.0)


def test_the_table_has_a_line_each_and_straight_columns() -> None:
    table = lines(OURS, [PEER])

    assert [line.split()[0] for line in table[1:]] == ["roughfed", "Other"]
    assert table[2].split()[2:] == ["4", "2", "200", "3.5", "..", "4.5", "20", "20", "4"]
    assert len({line.index("..") for line in table[1:]}) == 1


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> list[BenchWork]:
    """Our runs, which cost nothing here."""
    played: list[BenchWork] = []
    monkeypatch.setattr(compare, "play_ours", lambda work: played.append(work) or OURS)
    return played


def test_who_has_no_python_is_left_out_and_ours_is_measured(ours: list[BenchWork]) -> None:
    outcome = run_peers_bench(PeersOptions(WORK), say=lambda _: None)

    assert outcome.rows == (OURS,)
    assert set(outcome.left_out) == {"Flower", "Flower SecAgg+", "NVFlare"}
    assert len(ours) == 1


def test_ours_plays_before_every_peer_and_one_that_fails_hides_no_other(
    ours: list[BenchWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def plays(system: str, *_: object) -> Row:
        if system == run_flower.SECAGG:
            raise RoughfedError("it broke")
        return PEER

    monkeypatch.setattr(compare, "find", lambda *_, **__: None)
    monkeypatch.setattr(compare.run_flower, "run", plays)
    monkeypatch.setattr(compare.run_nvflare, "run", lambda *_: PEER)
    outcome = run_peers_bench(PeersOptions(WORK, "python", "python"), say=order.append)

    assert order == ["roughfed ...", "Flower ...", "roughfed ...", "Flower SecAgg+ ...", "roughfed ...", "NVFlare ..."]
    assert outcome.failed == {"Flower SecAgg+": "it broke"}
    assert len(outcome.rows) == 3
    assert json.loads(json.dumps(outcome.figures()))["failed"] == {"Flower SecAgg+": "it broke"}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (PeersOptions(BenchWork(3, 100, 3, 1.0)), "--clients"),
        (PeersOptions(BenchWork(4, 100, 1, 1.0)), "--rounds"),
        (PeersOptions(WORK, systems=("flour",)), "--systems"),
        (PeersOptions(WORK, flower="/no/such/python"), "--flower"),
        (PeersOptions(WORK, nvflare="false"), "--nvflare"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    options: PeersOptions, key: str, ours: list[BenchWork]
) -> None:
    with pytest.raises(ConfigError) as refused:
        run_peers_bench(options, say=lambda _: None)

    assert refused.value.key == key
    assert refused.value.cure
    assert not ours


def test_a_python_tells_its_version_and_commands_of_a_package() -> None:
    installed = find(sys.executable, "pytest", key="--flower")

    assert installed.version == pytest.__version__
    assert (installed.scripts / "python").exists()
    with pytest.raises(ConfigError, match="has no no-such-package"):
        find(sys.executable, "no-such-package", key="--flower")


def test_a_peer_inherits_none_of_our_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROUGHFED_SERVER__PORT", "1")
    monkeypatch.setenv("PYTHONPATH", "/ours")

    inherited = environment(tmp_path, tmp_path / "bin")

    assert not {key for key in inherited if key.startswith("ROUGHFED_")} | ({"PYTHONPATH"} & set(inherited))
    assert inherited["PATH"].split(os.pathsep)[0] == str(tmp_path / "bin")


BUSY = "end=$((SECONDS+60)); while [ $SECONDS -lt $end ]; do :; done"


def test_a_crew_measures_and_ends_what_its_processes_left_behind(tmp_path: Path) -> None:
    orphan = f"setsid bash -c '{BUSY}' >/dev/null 2>&1 & disown; echo $! > orphan; exec sleep 60"
    with Crew(tmp_path, environment(tmp_path), 20.0) as crew:
        crew.start(SERVER, "server", ["bash", "-c", orphan])
        crew.wait(lambda: crew.server_peak > 0 and crew.track.cpu[-1] >= 0.05, "time to be spent", last="server")
        assert len(crew.members()) >= 2
    pid = int((tmp_path / "orphan").read_text())

    assert not alive(pid)
    assert crew.roots["server"].returncode is not None


def test_a_tool_that_fails_and_a_process_that_ends_are_told_with_their_last_words(tmp_path: Path) -> None:
    with Crew(tmp_path, environment(tmp_path), 20.0) as crew:
        assert crew.play("fine", ["echo", "yes"]) == "yes\n"
        with pytest.raises(RoughfedError, match="broken ended with 3: no luck"):
            crew.play("broken", ["bash", "-c", "echo no luck; exit 3"])
    with Crew(tmp_path, environment(tmp_path), 20.0) as crew:
        crew.start(CLIENT, "client", ["echo", "good bye"])
        with pytest.raises(RoughfedError, match="client ended with 0: good bye"):
            crew.play("waiting", ["sleep", "60"])


def test_a_crew_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    begin = time.monotonic()
    with (
        Crew(tmp_path, environment(tmp_path), 0.3) as crew,
        pytest.raises(RoughfedError, match="waited 0 s for slow to end: it said nothing"),
    ):
        crew.play("slow", ["sleep", "60"])

    assert time.monotonic() - begin < 10


def test_ports_are_different_ones() -> None:
    assert len(set(free_ports(5, "127.0.0.1"))) == 5
