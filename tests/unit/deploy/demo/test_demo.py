"""The demo refuses before it starts, draws what it is told, and leaves no process behind."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from roughfed.deploy.demo import DemoOptions, DemoResult, run_demo, running
from roughfed.deploy.demo.federations import acts_of
from roughfed.deploy.demo.folder import make_place
from roughfed.deploy.demo.live_view import DemoScene, draw, sparkline
from roughfed.deploy.demo.outcome import final_table, last_words
from roughfed.deploy.demo.processes import ProcessDied, Processes, tail
from roughfed.deploy.demo.scenarios import SCENARIOS
from roughfed.deploy.demo.terminal import LiveScreen, PlainScreen, screen_for
from roughfed.errors import ConfigError
from roughfed.methods import read_method
from roughfed.report.summary import GroupSummary, RoundSummary

NAMES = ["client-1", "client-2"]


def a_round(number: int, accuracy: float | None, **changes: Any) -> RoundSummary:
    whole: Mapping[str, Any] = {"participants": NAMES, "accepted": NAMES, "upload_bytes": 1024, "download_bytes": 2048}
    return RoundSummary(number, number, seconds=0.5, accuracy=accuracy, **(whole | changes))


def a_scene(**changes: Any) -> DemoScene:
    return DemoScene("two clients", "/tmp/here", dict.fromkeys(NAMES, 7), 3, began=0.0, **changes)


def a_status(phase: str, *states: str, round_number: int = 1, **masked: Any) -> dict[str, Any]:
    clients = [{"name": n, "connected": True, "state": s, "progress": 0.5} for n, s in zip(NAMES, states, strict=False)]
    moved = {"upload_bytes": 100 << 10, "download_bytes": 200 << 10}
    return {"phase": phase, "round": round_number, "min_clients": 2, "clients": clients, **moved, **masked}


def picture(scene: DemoScene) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(draw(scene, 5.0))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "balanced-softmx"}, "no part 'balanced-softmx'"),
        ({"clients": 3}, "3 clients are too few to hide in"),
        ({"server_sees": "everything"}, "everything"),
        ({"scenario": "cleen"}, "scenario"),
        ({"data": "letters"}, "letters"),
        ({"clients": 1}, "1 clients cannot"),
        ({"clients": 201}, "201 clients"),
        ({"rounds": -1}, "rounds"),
        ({"alpha": 0.0}, "alpha"),
        ({"seed": -1}, "seed"),
        ({"data_dir": Path("/nowhere")}, "digits"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run_demo(DemoOptions(out=tmp_path / "out", **changes))

    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(ConfigError, match="not empty"):
        make_place(tmp_path)
    with pytest.raises(ConfigError, match="this is a file"):
        make_place(tmp_path / "thesis.tex")


def test_clients_are_named_in_the_order_of_their_shares() -> None:
    (act,) = acts_of(DemoOptions(clients=12, scenario="clean"))
    clients = act.clients

    assert list(clients) == sorted(clients)
    assert "\nindex = 11\n" in clients["client-12"]


def test_every_stage_can_be_drawn() -> None:
    assert "loading torch" in picture(a_scene(stage="loading torch"))
    waiting = picture(a_scene(stage="loading torch", status=a_status("waiting", "idle")))
    assert "1 of 2 clients are here" in waiting
    assert "starting" in waiting
    training = picture(a_scene(status=a_status("report", "training", "received")))
    assert "train and upload" in training
    assert "received" in training
    assert "↑ 100 KiB   ↓ 200 KiB" in training
    second = a_scene(status=a_status("report", "training", "gone", round_number=2), rounds=[a_round(1, 0.5)])
    assert "↑ 101 KiB   ↓ 202 KiB" in picture(second)
    final = [a_round(1, 0.5), a_round(2, 0.75, balanced_accuracy=0.7, client_accuracy={"client-1": 0.9})]
    over = picture(a_scene(stage="the run is over", over=True, status=a_status("waiting"), rounds=final))
    assert "▁█  75 %  balanced 70 %" in over
    assert "90 %" in over
    assert "not measured" in over


@pytest.mark.parametrize(
    ("phase", "stage", "shown"),
    [
        ("configure", None, "keys"),
        ("report", "advertising", "keys"),
        ("report", "dealing", "shares"),
        ("report", "masking", "train"),
        ("report", "judging", "sketches"),
        ("report", "agreeing", "sets"),
        ("unmask", "done", "unmask"),
        ("aggregate", "done", "sum"),
    ],
)
def test_a_masked_round_shows_its_stage(phase: str, stage: str | None, shown: str) -> None:
    console = Console(file=StringIO(), width=79, force_terminal=True, color_system="standard")
    console.print(draw(a_scene(server_sees="sketches", status=a_status(phase, "training", stage=stage)), 5.0))
    drawn = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    marked = re.findall("\\x1b\\[1;7;36m(.*?)\\x1b", drawn)
    assert marked == [shown]


def test_clients_that_leave_after_the_run_are_not_lost() -> None:
    drawn = picture(a_scene(status=a_status("waiting", "gone", "gone", finished="rounds")))
    assert "the run is over" in drawn
    assert "gone" not in drawn
    assert "gone" in picture(a_scene(status=a_status("waiting", "gone", "gone", finished=None)))


def test_groups_and_who_is_missing_from_them() -> None:
    assert "not drawn yet" in picture(a_scene(server_sees="sums", status=a_status("report", stage="advertising")))
    assert "sketches" not in picture(a_scene(server_sees="sums", status=a_status("report", stage="masking")))
    drawn = picture(
        a_scene(
            server_sees="sketches",
            status=a_status(
                "report", "agreeing", stage="agreeing", groups=[{"members": NAMES}, {"members": NAMES[:1]}]
            ),
            rounds=[
                a_round(
                    1,
                    0.5,
                    excluded=[("client-1", "norm"), ("client-2", "void")],
                    groups=[GroupSummary(NAMES, "a sketch was false")],
                )
            ],
        )
    )
    assert "2 of 2 + 1 clients   1 void   1 updates excluded" in drawn
    assert "sums of groups, sketches of updates" in drawn
    over = picture(a_scene(server_sees="sketches", over=True, rounds=[a_round(1, 0.5)]))
    assert "on its own data" not in over


def test_a_sparkline_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.5]) == "▅"
    assert sparkline([0.970, 0.974, 0.971]) == "▄▅▄"  # what is hardly a change is not drawn as one
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"


def test_without_a_terminal_each_round_is_one_line_once_it_is_evaluated() -> None:
    console = Console(file=StringIO(), width=40)
    scene = a_scene(stage="starting")
    screen = screen_for(scene, console)
    assert isinstance(screen, PlainScreen)

    def told() -> list[str]:
        screen.changed()
        return console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]

    assert len(told()) == len(told()) == 1
    scene.rounds = [a_round(1, None)]
    assert len(told()) == 1
    scene.rounds = [replace(a_round(1, 0.5), seconds=0.0)]  # its clients evaluated, its summary is not journaled yet
    assert len(told()) == 1
    scene.rounds = [a_round(1, 0.5)]
    assert told()[1:] == ["round 1 of 3: committed, accuracy 50 %, 2 of 2 clients, up 1 KiB, down 2 KiB, 500 ms"]
    scene.rounds = [a_round(1, 0.5), a_round(2, None, outcome="abandoned")]
    assert told()[2].startswith("round 2 of 3: abandoned, not evaluated")
    scene.rounds = [*scene.rounds, a_round(3, None)]
    scene.over = True
    assert told()[3].startswith("round 3 of 3: committed, not evaluated")


def test_a_terminal_gets_the_live_picture() -> None:
    console = Console(file=StringIO(), width=100, force_terminal=True)
    scene = a_scene(stage="starting")
    screen = screen_for(scene, console)
    assert isinstance(screen, LiveScreen)

    with screen.running():
        scene.stage = "well under way"
        screen.changed()

    assert "well under way" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def a_result(**changes: Any) -> DemoResult:
    values: dict[str, Any] = {
        "scenario": "clean",
        "method": "plain",
        "rounds": 2,
        "clients": 2,
        "server_sees": "updates",
        "clients_accuracy": None,
        "client_accuracy_histogram": [],
        "upload_ratio": 1.0,
        "download_ratio": 0.5,
        "groups": [],
        "void_groups": 0,
        "excluded": {},
        "exclusions": [],
        "accuracy": 0.95,
        "balanced_accuracy": None,
        "client_accuracy": {"ann": 0.5, "bob": 0.75},
        "upload_bytes_per_client_round": 2048.0,
        "download_bytes_per_client_round": 1024.0,
        "float32_bytes": 2048,
        "seconds_total": 9.0,
        "seconds_per_round": 0.25,
        "model_digest": "ab" * 32,
        "report": "/tmp/here/report.html",
    }
    return DemoResult(**values | changes)


def test_the_final_table_speaks_of_spread_and_bytes() -> None:
    console = Console(file=StringIO(), width=90)
    console.print(final_table(a_result()))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]

    assert "50 % to 75 %" in text
    assert "lowest: ann" in text
    assert "not measured" in text
    assert "0.5 x the model as float32" in text


def test_the_final_table_of_a_masked_demo_speaks_of_sums() -> None:
    left_out = [{"round": 1, "client": "eve", "reason": why} for why in ("norm", "void")]
    console = Console(file=StringIO(), width=79)
    masked = {"client_accuracy": {}, "clients_accuracy": 0.9, "client_accuracy_histogram": [0, 0, 1, 3, 0]}
    grouped = {"groups": [["a", "b"], ["c"]], "void_groups": 1, "exclusions": left_out}
    console.print(final_table(a_result(server_sees="sketches", **masked, **grouped)))
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]

    assert [" ".join(line.split()) for line in lines[2:5]] == [
        "on clients' own data 90 % from sums; no client below 40 %",
        "server saw sketches sums of groups, sketches of updates",
        "groups 2 + 1 clients 1 void, 1 updates excluded",
    ]
    assert len(lines) == 10, "a line is broken"


def test_the_final_table_on_rough_data_has_plain_fedavg_beside_it() -> None:
    rough = {"tail_accuracy": 0.75, "forgetting": 0.125, "memorised_wrong": None, "balanced_accuracy": 0.875}
    plain = {f"plain_{key}": 0.5 for key in rough}
    console = Console(file=StringIO(), width=120)
    console.print(final_table(a_result(scenario="long-tail", method="balanced-softmax", **rough, **plain)))
    text = " ".join(console.file.getvalue().split())  # pyright: ignore[reportAttributeAccessIssue]
    assert "trained with balanced-softmax" in text
    assert "rare classes 75 % plain FedAvg 50 %" in text
    assert "balanced accuracy 87.5 % plain FedAvg 50 %" in text
    assert "forgetting 12.5 % plain FedAvg 50 %" in text
    assert "wrong labels" not in text
    narrow, method = Console(file=StringIO(), width=79), "balanced-softmax+class-balanced-memory+der++"
    narrow.print(final_table(a_result(scenario="rough", method=method)))
    assert "…" not in narrow.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_rough_data_are_played_twice_by_the_same_clients() -> None:
    plain, rough = acts_of(DemoOptions(scenario="rough", seed=7))
    assert (plain.name, plain.method, rough.name) == ("plain", "plain", "last")
    assert plain.rounds == rough.rounds
    assert plain.hostile == rough.hostile == ("client-6",)
    assert plain.attackers is not None
    assert plain.attackers.flags == ("sign-flip",)
    assert (plain.starts, rough.starts) == (list(rough.clients), ())
    assert rough.method == str(read_method("rough"))
    assert '\nrule = "default"\n' in rough.fed
    assert '\nrule = "none"\n' in plain.fed
    assert 'scenario = "rough"' in rough.clients["client-1"]
    assert "\nstay = 10\n" in rough.clients["client-1"]
    (alone,) = acts_of(DemoOptions(scenario="clean"))
    assert "\nstay = 10\n" not in alone.clients["client-1"]


def test_a_mode_that_shows_no_client_has_no_rule_about_clients() -> None:
    _, rough = acts_of(DemoOptions(scenario="rough", server_sees="sums"))
    assert '\nrule = "default"\n' not in rough.fed


def test_some_go_on_when_the_one_that_is_waited_for_has_ended(tmp_path: Path) -> None:
    async def play() -> int:
        async with Processes() as processes:
            idler = await processes.start("idler", SLEEPER, log=tmp_path / "a", env={})
            await processes.start("leaver", python("pass"), log=tmp_path / "b", env={})
            await processes.all_ended(lambda: True, until={"leaver"})
            assert is_running(idler.pid)
            await processes.end()
            return idler.ending.result()

    assert asyncio.run(play()) == -15


def test_the_last_words_never_name_what_was_just_run() -> None:
    for options in (
        DemoOptions(),
        DemoOptions(data="fashion-mnist", alpha=0.1, server_sees="updates"),
        *(DemoOptions(scenario=name) for name in SCENARIOS),
    ):
        words = "\n".join(last_words(a_result(), options))
        assert a_result().report in words
        assert f"--data {options.data}" not in words
        assert f"--alpha {options.alpha} " not in words
        assert f"--server-sees {options.server_sees}" not in words
        assert f"--scenario {options.scenario}\n" not in words


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


SLEEPER = python("import signal; signal.pause()")
DEAF = python("import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_death_is_named_with_its_last_words_and_the_others_are_ended(tmp_path: Path) -> None:
    pids: list[int] = []

    async def play() -> None:
        async with Processes() as processes:
            pids.append((await processes.start("idler", SLEEPER, log=tmp_path / "a", env={})).pid)
            crash = python("import sys; print('the disk is full', file=sys.stderr); sys.exit(4)")
            await processes.start("crasher", crash, log=tmp_path / "b", env={})
            await processes.all_ended(lambda: True)

    with pytest.raises(ProcessDied, match=r"(?s)crasher ended with status 4.*the disk is full") as caught:
        asyncio.run(play())

    assert (caught.value.name, caught.value.code, caught.value.exit_code) == ("crasher", 4, 1)
    assert not is_running(pids[0])


def test_an_end_without_an_error_is_a_death_while_the_run_goes_on(tmp_path: Path) -> None:
    async def play(over: bool) -> None:
        async with Processes() as processes:
            await processes.start("leaver", python("pass"), log=tmp_path / "log", env={})
            await processes.all_ended(lambda: over)

    asyncio.run(play(over=True))
    with pytest.raises(ProcessDied, match=r"leaver ended with status 0(?s:.*)empty"):
        asyncio.run(play(over=False))


def test_who_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roughfed.deploy.demo.processes.END_S", 0.1)

    async def play() -> tuple[int, int]:
        async with Processes() as processes:
            heard = asyncio.Event()
            deaf = await processes.start("deaf", DEAF, log=tmp_path / "log", env={}, on_output=heard.set)
            await heard.wait()
        return deaf.pid, deaf.ending.result()

    pid, code = asyncio.run(play())

    assert code == -9
    assert not is_running(pid)
    assert (tmp_path / "log").read_text() == "deaf\n"


def test_only_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {n}\n" for n in range(10_000)))

    assert tail(tmp_path / "log").splitlines() == [f"  line {n}" for n in range(9985, 10_000)]
    assert "cannot be read" in tail(tmp_path / "none")


def test_a_server_that_does_not_come_up_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ROUGHFED", tuple(python("raise SystemExit('no port is free')")))

    with pytest.raises(ProcessDied, match=r"(?s)server ended with status 1.*no port is free"):
        run_demo(DemoOptions(out=tmp_path / "out", json=True))

    assert not (tmp_path / "out" / "report.html").exists()
