"""Own apps in a simulation: what is refused, what is told, and what ends it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from roughfed.config import FederationConfig
from roughfed.deploy.cli.simulate import end_words, round_words
from roughfed.deploy.simulate.complaints import MOST_TOLD, Broken, Complaints, broken
from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.program import Program
from roughfed.deploy.simulate.ray_pool import RemoteTrainer
from roughfed.deploy.simulate.rounds import Audience, SimulatedRound
from roughfed.deploy.simulate.run import Simulated, simulate
from roughfed.deploy.simulate.standing import StandingClock
from roughfed.errors import ConfigError, TrainerError
from roughfed.messages import JobUpdate
from roughfed.server.context.server import ServerContext

APP = """\
import numpy as np
from torch import nn
from roughfed import Client

x = np.random.default_rng(0).normal(size=(80, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int64")

def client(index, clients):
    return Client(lambda: nn.Linear(4, 2), (x[index::clients], y[index::clients]))

def failing(index, clients):
    if index == 2:
        raise LookupError("no such hospital")
    return client(index, clients)

def wider(index, clients):
    made = client(index, clients)
    if index == 2:
        made.model = lambda: nn.Linear(4, 3)
    return made

def sick(index, clients):
    made = client(index, clients)
    @made.fit
    def loop(net, loader, round):
        for _ in loader:
            if index < 2:
                raise ValueError(f"sick {index}")
    return made

def own_pace(index, clients):
    return Client(lambda: nn.Linear(4, 2), (x[index::clients], y[index::clients]), lr=0.01, trainer="gce")
"""
PROGRAM = Program(1000, 0, app="/data/my.py:client")
ROUND = SimulatedRound(3, "committed", 2.5, 0.1, 0.2, 50, 48, {"late": 1, "norm": 1}, 2_000_000, 0, None)
END = Simulated("r", 1000, (ROUND,), 3, "ab" * 32, 10, "rounds", 60.0, 9.0, "")


def options(folder: Path, name: str) -> SimulateOptions:
    (folder / "my.py").write_text(APP)
    return SimulateOptions(4, rounds=1, workers=1, server_sees="updates", app=f"{folder / 'my.py'}:{name}")


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"data": "digits"}, "--data", "no effect"),
        ({"data_dir": "/"}, "--data-dir", "no effect"),
        ({"model": "mlp"}, "--model", "no effect"),
        ({"partition": "iid"}, "--partition", "no effect"),
        ({"alpha": 0.5}, "--alpha", "no effect"),
        ({"scenario": "noisy"}, "--scenario", "no effect"),
        ({"app": "absent.py:client"}, "--app", "names no file"),
        ({"app": "client"}, "--app", "names no file"),
        ({"app": f"{__file__}:"}, "--app", "names nothing in that file"),
        ({"app": f"{__file__}:absent"}, "--app", "there is no absent in"),
        ({"server_app": "absent.py:server"}, "--server-app", "names no file"),
        ({"app": "", "server_app": "my.py:server"}, "--server-app", "goes with"),
        ({"app": "", "partition": "iid", "alpha": 0.5}, "--alpha", "no effect"),
        ({"app": "", "alpha": 0.0}, "--alpha", "no concentration"),
        ({"app": "", "partition": "dirichelt"}, "--partition", "unknown"),
        ({"app": "", "scenario": "rouhg"}, "--scenario", "unknown"),
        ({"app": "", "data": "fashion-mist"}, "--data", "unknown"),
        ({"device": "cuda", "ray": "local"}, "--device", "no effect"),
        ({"settings": {"round.rounds": "3"}}, "--set round.rounds", "flag"),
        ({"settings": {"model.app": "my.py:client"}}, "--set model.app", "flag"),
        ({"settings": {"server.port": "1"}}, "--set server.port", "no ports"),
        ({"settings": {"round.patience": "3"}}, "--set round.patience", "no effect"),
    ],
)
def test_what_makes_no_sense_is_refused_by_flag(
    change: dict[str, object], key: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        replace(options(tmp_path, "client"), **change).federation()  # pyright: ignore[reportArgumentType]
    assert caught.value.key == key
    assert caught.value.cure


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"clients": 3, "server_sees": "sums"}, "--clients"),
        ({"server_sees": "everything"}, "--server-sees"),
        ({"app": "", "model": "lmp"}, "--model"),
    ],
)
def test_a_setting_that_a_flag_gave_is_refused_under_its_name(
    change: dict[str, object], flag: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(options(tmp_path, "client"), **change).federation()  # pyright: ignore[reportArgumentType]
    assert caught.value.file == flag


def test_paths_go_by_where_the_command_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options(tmp_path, "client")
    given = SimulateOptions(4, app="my.py:client", settings={"model.init": "first.safetensors"})
    config, _ = given.federation()
    assert config.model.app == given.program(config).app == f"{tmp_path}/my.py:client"
    assert config.model.init == f"{tmp_path}/first.safetensors"
    on_gpu = replace(given, device="cuda:1").program(config).trainer()
    assert on_gpu[on_gpu.index("--device") + 1] == "cuda:1"
    listed, _ = SimulateOptions(4, data_dir="here", settings={"server.transfers": "3"}).federation()
    assert (listed.data.data_dir, listed.server.transfers) == (f"{tmp_path}/here", 3)


def test_an_actor_of_a_cluster_is_the_same_crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the actor sets them for good: here they are put back
    threads = torch.get_num_threads()
    given = options(tmp_path, "failing")
    config, _ = given.federation()
    try:
        actor = RemoteTrainer(given.program(config))
        answer, _ = actor.call("describe", {"client": 1}, {})
        refused, _ = actor.call("describe", {"client": 2}, {})
    finally:
        torch.set_num_threads(threads)
    assert answer["ok"]["num_train"] == 20
    assert "my.py:13: LookupError" in refused["error"]["message"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "words", "cure"),
    [
        ("failing", r"^client-3 \(index 2 of 4\): .*my.py:13: LookupError: no such hospital", "my.failing(2, 4)"),
        ("own_pace", r"Client\(...\) gives lr, trainer, and trainer.local = false", "remove lr, trainer there"),
        pytest.param(
            "wider",
            r"^client-3 \(index 2 of 4\): .*not the federation's: bias: here float32\[3\]",
            "docs/simulate.md",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_client_that_cannot_be_ends_the_simulation(name: str, words: str, cure: str, tmp_path: Path) -> None:
    with pytest.raises(Broken, match=words) as caught:
        simulate(options(tmp_path, name))
    assert cure in caught.value.cure
    assert caught.value.exit_code == 5


@pytest.mark.timeout(120)
def test_a_training_that_fails_is_told_and_the_round_goes_on_without_it(tmp_path: Path) -> None:
    told: list[str] = []
    given = replace(options(tmp_path, "sick"), settings={"round.quorum": "2"})

    found = simulate(given, Audience(complain=told.append))

    assert (found.ended, found.failed, found.rounds[0].accepted) == ("rounds", 2, 2)
    assert found.rounds[0].missing == {"client-failed: user-code": 2}
    assert sorted(told)[0].startswith("round 1: client-1 (index 0) failed: ")
    assert "my.py:28: ValueError: sick 0" in sorted(told)[0]


def test_only_the_first_complaints_are_told_and_none_once_it_is_over() -> None:
    told: list[str] = []
    ended: list[None] = []
    complaints = Complaints(PROGRAM, told.append, on_broken=lambda: ended.append(None))
    for number in range(MOST_TOLD + 3):
        complaints.said("c", number, JobUpdate(1, "failed", "user-code", f"x.py:{number}"))
    complaints.said("c", 0, JobUpdate(1, "accepted"))
    complaints.said("c", 0, JobUpdate(1, "refused", "sat-out", "not this time"))
    assert (len(told), complaints.failed) == (MOST_TOLD + 1, MOST_TOLD + 3)
    assert told[0] == "round 1: c (index 0) failed: x.py:0"

    complaints.check()
    complaints.broke("client-0714", 713, TrainerError("my.py:9: KeyError: 713", reason="user-code", detail="trace"))
    complaints.broke("client-0001", 0, ConfigError("later"))
    complaints.said("c", 0, JobUpdate(1, "failed", "abandoned"))
    with pytest.raises(Broken, match=r"^client-0714 \(index 713 of 1000\): my.py:9: KeyError: 713$") as caught:
        complaints.check()
    assert (caught.value.reason, caught.value.detail, len(ended)) == ("user-code", "trace", 1)
    assert caught.value.cure == "to see it alone, in /data: python -c 'import my; my.client(713, 1000)'"
    assert complaints.failed == MOST_TOLD + 3


def test_what_to_do_is_said_of_the_app_that_failed() -> None:
    mine, theirs = TrainerError("x.py:1: NameError", reason="user-code"), TrainerError("device: none (give cpu)")
    both = replace(PROGRAM, server_app="/other/s.py:site")
    alone = "to see it alone, in /other: python -c 'import s; s.site'"
    assert broken(both, mine, server=True).cure == alone
    assert "--server-app" in broken(both, theirs, server=True).cure
    assert "my.client(0, 1000)" in broken(PROGRAM, mine, server=True).cure  # whose server has client 0's model
    assert "one model" not in broken(both, theirs, 3).cure  # the message itself says what is missing
    assert "one model" in broken(both, ConfigError("not the federation's"), 3).cure


def test_a_round_and_the_end_in_words() -> None:
    assert round_words(ROUND) == (
        "round 3 committed in 2.50 s: 48 of 50 clients, 2.00 MB up; not counted: 1 late, 1 norm"
    )
    assert "up, accuracy 0.912;" in round_words(replace(ROUND, accuracy=0.912))
    clients = replace(ROUND, accuracy_before=0.5, measured_by="clients", missing={})
    assert round_words(clients).endswith("up, accuracy before it 0.500 (the clients' own data)")
    server = replace(clients, measured_by="server")  # whose worker has skipped one
    assert round_words(server).endswith("up, accuracy before it 0.500")
    assert end_words(END) == "1,000 clients, 1 round in 60.0 s (rounds): version 3, digest abababababababab"
    assert "version 3, accuracy 0.900, digest" in end_words(replace(END, accuracy=0.9, accuracy_of=3))
    late = replace(END, accuracy=0.9, accuracy_of=2, failed=4)
    assert "version 3, accuracy of version 2 0.900, digest" in end_words(late)
    assert end_words(late).endswith("; 4 trainings failed")


def test_time_stands_while_a_round_is_open_and_goes_on_where_something_hangs() -> None:
    async def waits(outcome: str | None, *, hangs_s: float, set_at_once: bool) -> float:
        """How far a wait of an hour brought the clock."""
        state = SimpleNamespace(round=SimpleNamespace(row=SimpleNamespace(outcome=outcome)))
        clock = StandingClock(cast(ServerContext, SimpleNamespace(state=state, config=FederationConfig())))
        clock._hangs_s = hangs_s  # pyright: ignore[reportPrivateUsage]
        event, began = asyncio.Event(), clock()
        if set_at_once:
            asyncio.get_running_loop().call_soon(event.set)
        await clock.wait(event, began + 3600 if outcome is None else began)
        return clock() - began

    assert asyncio.run(waits(None, hangs_s=60, set_at_once=True)) == pytest.approx(0.0, abs=0.05)
    assert asyncio.run(waits(None, hangs_s=0.0, set_at_once=False)) == pytest.approx(3600, abs=1)
    assert asyncio.run(waits("committed", hangs_s=60, set_at_once=False)) < 1
