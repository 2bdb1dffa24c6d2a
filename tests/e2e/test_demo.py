"""`roughfed demo` as a user starts it: real processes, real data, a report, and nothing left behind."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roughfed.methods import read_method
from roughfed.report.summary import RunSummary

from .federation import read_rows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DEMO = (sys.executable, "-m", "roughfed.deploy.cli", "demo", "--json")
SMALL = ("--scenario", "clean", "--clients", "2", "--rounds", "2", "--seed", "3", "--server-sees", "updates")
MASKED = ("--scenario", "clean", "--clients", "4", "--rounds", "3", "--seed", "3")
BUSY_S = 120.0


def demo(out: Path, *flags: str, timeout_s: float = BUSY_S) -> subprocess.CompletedProcess[str]:
    """A demo to its end; one that does not end fails with the last lines of whoever took part."""
    command = [*DEMO, "--out", str(out), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            said, words = running.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGTERM)  # it ends its own
            _, words = running.communicate(timeout=60)
            pytest.fail(f"still running after {timeout_s} s\n{words[-2000:]}\n{tails(out)}")
    return subprocess.CompletedProcess(command, running.returncode, said, words)


def tails(out: Path, lines: int = 25) -> str:
    """The last lines of every log of a demo."""
    logs = sorted((out / "logs").glob("*.log"))
    return "\n".join("\n".join([f"== {log.name}", *log.read_text().splitlines()[-lines:]]) for log in logs)


def processes_of(out: Path) -> list[str]:
    """Command lines that name the demo's folder, from /proc."""
    found: list[str] = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        found += [line] if str(out) in line else []
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """One small demo: its folder, its JSON, what it told people."""
    out = tmp_path_factory.mktemp("demo") / "d"
    done = demo(out, *SMALL)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return out, json.loads(line), done.stderr


def test_the_json_has_every_figure(small: tuple[Path, dict[str, Any], str]) -> None:
    out, told, _ = small

    assert (told["rounds"], told["clients"], told["server_sees"]) == (2, 2, "updates")
    assert told["float32_bytes"] == 4 * 55_210
    assert told["accuracy"] > 0.6
    assert told["balanced_accuracy"] > 0.6
    assert sorted(told["client_accuracy"]) == ["client-1", "client-2"]
    for direction in ("upload", "download"):
        assert 1.0 <= told[f"{direction}_bytes_per_client_round"] / told["float32_bytes"] <= 1.03
    assert 0 < told["seconds_per_round"] < told["seconds_total"]
    assert len(bytes.fromhex(told["model_digest"])) == 32
    assert told["report"] == str(out / "report.html")
    assert (out / "server" / "state" / "models" / f"{told['model_digest']}.safetensors").is_file()


def test_people_see_each_round_and_the_report(small: tuple[Path, dict[str, Any], str]) -> None:
    out, told, words = small
    page = (out / "report.html").read_text()
    summary = RunSummary.from_json((out / "report.json").read_bytes())

    assert "round 1 of 2: committed" in words
    assert "round 2 of 2: committed" in words
    assert str(out / "report.html") in words
    assert told["model_digest"] in page
    assert summary.scenario == "clean"
    assert [sum(row) > 0 for row in summary.holdings or []] == [True] * 2
    assert all(r.class_accuracy for r in summary.rounds)


def test_nothing_is_left_behind(small: tuple[Path, dict[str, Any], str]) -> None:
    out, _, _ = small

    assert processes_of(out) == []
    for log in (out / "logs").iterdir():
        assert "Traceback" not in log.read_text()


def test_the_same_seed_gives_the_same_first_model_and_other_trainings(
    small: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    """In which order a client trains is its secret: a server that knows it could take sums apart."""
    out, told, _ = small
    again = demo(tmp_path / "d", *SMALL)

    assert again.returncode == 0, again.stderr
    first = "SELECT digest FROM models WHERE version = 0"
    firsts = [
        read_rows(place / "server" / "state" / "journal.db", first)[0]["digest"] for place in (out, tmp_path / "d")
    ]
    assert firsts[0] == firsts[1]
    assert json.loads(again.stdout)["model_digest"] != told["model_digest"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(tmp_path: Path, number: int) -> None:
    out = tmp_path / "d"
    with subprocess.Popen([*DEMO, "--out", str(out), *SMALL], stderr=subprocess.PIPE, text=True) as running:
        wait_for("starting 2 clients", running)
        running.send_signal(number)
        assert running.wait(60) == 130

    assert processes_of(out) == []


def test_a_dead_client_is_named(tmp_path: Path) -> None:
    out = tmp_path / "d"
    flags = ("--scenario", "clean", "--clients", "2", "--rounds", "10000", "--server-sees", "updates")
    with subprocess.Popen([*DEMO, "--out", str(out), *flags], stderr=subprocess.PIPE, text=True) as running:
        wait_for("round 1 of 10000", running)
        subprocess.run(["/bin/kill", "-9", str(pid_of("join", out / "client-2"))], check=True)
        _, words = running.communicate(timeout=60)

    assert running.returncode == 1
    assert "client-2 was killed by SIGKILL" in words
    assert processes_of(out) == []


def test_by_default_the_server_sees_sums_and_sketches(tmp_path: Path) -> None:
    done = demo(tmp_path / "d", *MASKED)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    names = [f"client-{number}" for number in range(1, 5)]
    assert (told["rounds"], told["server_sees"], told["client_accuracy"]) == (3, "sketches", {})
    assert (told["groups"], told["void_groups"], told["exclusions"]) == ([names], 0, [])
    assert told["accuracy"] > 0.6
    assert told["clients_accuracy"] > 0.6
    assert sum(told["client_accuracy_histogram"]) == 4
    assert 0.25 < told["upload_ratio"] <= 0.26
    assert 0.25 < told["download_ratio"] <= (1 + 2 * 0.3) / 3  # the first model whole, then deltas
    summary = RunSummary.from_json((tmp_path / "d" / "report.json").read_bytes())
    held = [sum(column) for column in zip(*(summary.holdings or []), strict=True)]
    assert 0 < sum(summary.class_prior) <= sum(held)  # held-out examples are not trained on
    assert all(0 < told_ <= had for told_, had in zip(summary.class_prior, held, strict=True))
    assert [r.clip_norm is not None for r in summary.rounds] == [True] * 3
    page = (tmp_path / "d" / "report.html").read_text()
    assert "What the server saw" in page
    assert "Who was added up with whom" in page
    assert processes_of(tmp_path / "d") == []


@pytest.mark.parametrize(
    ("clients", "rounds", "learns"), [("2", "2", False), pytest.param("4", "10", True, marks=pytest.mark.slow)]
)
def test_rough_data_against_plain_fedavg_with_the_same_living_clients(
    tmp_path: Path, clients: str, rounds: str, learns: bool
) -> None:
    """In two rounds there is not much to forget."""
    out = tmp_path / "d"
    flags = ("--scenario", "continual", "--clients", clients, "--rounds", rounds, "--seed", "3")
    done = demo(out, *flags, "--server-sees", "sketches" if learns else "updates")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["scenario"], told["method"]) == ("continual", str(read_method("continual")))
    assert told["rounds"] == int(rounds)
    if learns:
        assert told["forgetting"] < told["plain_forgetting"]
        assert told["balanced_accuracy"] > told["plain_balanced_accuracy"] + 0.1
    assert told["memorised_wrong"] is None
    for name in ("client-1", f"client-{clients}"):
        log = (out / "logs" / f"{name}.log").read_text()
        assert len(set(re.findall(r"connected to [^,]+, run ([\w-]+)", log))) == 2
        assert len(list((out / name / "state" / "trainer").glob("*.state"))) > 0
    assert "Against plain FedAvg" in (out / "report.html").read_text()
    assert processes_of(out) == []


def test_an_attack_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = demo(tmp_path / "d", "--scenario", "poisoned", "--attack", "sing-flip")

    assert done.returncode == 2
    assert "did you mean 'sign-flip'?" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["error"]["key"] == "--attack"
    assert not (tmp_path / "d").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_defaults_learn_digits(tmp_path: Path, seed: int) -> None:
    done = demo(tmp_path / "d", "--scenario", "clean", "--seed", str(seed))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] >= 0.93


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("scenario", ["long-tail", "noisy", "continual", "rough"])
def test_the_right_parts_beat_plain_fedavg(tmp_path: Path, scenario: str) -> None:
    done = demo(tmp_path / "d", "--scenario", scenario, timeout_s=330)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["balanced_accuracy"] > told["plain_balanced_accuracy"]
    assert told["seconds_total"] <= 300


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_clients_that_differ_get_models_of_their_own_and_one_that_pretends_is_found(tmp_path: Path) -> None:
    done = demo(tmp_path / "d", "--scenario", "heterogeneous", timeout_s=330)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["heterogeneity"]
    spread, scores, levels = found["spread"], found["scores"], found["levels"]
    assert spread["personal"]["worst10"] > spread["global"]["worst10"]
    assert spread["personal"]["mean"] >= spread["alone"]["mean"]
    assert found["free_riders"].keys() == {"client-10"}
    assert min(scores, key=scores.get) == "client-10"
    assert levels["client-10"] == min(levels.values()) < 1.0
    page = (tmp_path / "d" / "report.html").read_text()
    assert all(f"<h2>{title}</h2>" in page for title in ("Personal", "Fairness", "Contribution"))


def wait_for(words: str, running: subprocess.Popen[str]) -> None:
    """Read what the demo tells people until a line has the words."""
    assert running.stderr is not None
    read: list[str] = []
    for line in running.stderr:
        read.append(line)
        if words in line:
            return
    pytest.fail("".join(read))


def pid_of(*words: object) -> int:
    """The process whose command line has all the words as arguments."""
    wanted = {str(word).encode() for word in words}
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        if wanted <= set(each.read_bytes().split(b"\0")):
            return int(each.parent.name)
    pytest.fail(f"no process with {words}")
