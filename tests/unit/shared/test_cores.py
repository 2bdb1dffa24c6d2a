"""Trainers of one host: how many there are, how the cores are shared, and how threads wait for one another."""

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roughfed import cores
from roughfed.cores import Place, folder_of_places, holders, share_of
from roughfed.trainer_client import Trainer, trainer_command

HOLD = """\
import sys
from pathlib import Path
from roughfed.cores import Place
place = Place(Path(sys.argv[1]))
print(place.holders(), flush=True)
sys.stdin.read()
"""
APP = """\
import os
import numpy as np
from torch import nn
from roughfed import Client
given = " ".join(os.environ.get(name, "-") for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"))
x, y = np.zeros((8, 2), np.float32), np.arange(8) % 2
client = Client(lambda: nn.Linear(2, 2), (x, y), name=given)
"""
OWNERS = {"OMP_WAIT_POLICY": "active"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where trainers started by this test hold their places, and nobody else's."""
    monkeypatch.delenv("ROUGHFED_CLIENTS_ON_HOST", raising=False)
    monkeypatch.setenv(cores.UNIT, str(tmp_path))
    return folder_of_places()


@pytest.fixture
def others(folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two other processes that hold a place each."""
    started: list[subprocess.Popen[str]] = []
    for number in (1, 2):
        command = [sys.executable, "-c", HOLD, str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{number}\n"
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_trainers_count_each_other_and_not_the_dead(folder: Path, others: list[subprocess.Popen[str]]) -> None:
    mine = Place(folder)
    assert mine.holders() == 3
    others[0].kill()
    others[0].wait()
    assert mine.holders() == 2
    assert len(list(folder.iterdir())) == 2
    mine.leave()
    assert holders(folder) == 1
    assert len(list(folder.iterdir())) == 1


def test_a_place_that_somebody_removed_is_taken_again(folder: Path) -> None:
    mine = Place(folder)
    next(folder.iterdir()).unlink()
    assert mine.holders() == 1
    mine.leave()


def test_a_forked_worker_does_not_hold_its_trainers_place(folder: Path) -> None:
    mine = Place(folder)
    wait, end = os.pipe()
    if (child := os.fork()) == 0:
        os.close(end)
        os.read(wait, 1)
        os._exit(0)
    mine.leave()
    seen = holders(folder)
    os.close(end)
    os.close(wait)
    os.waitpid(child, 0)
    assert seen == 0


def test_a_folder_that_others_may_write_to_is_not_trusted(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        Place(folder)
    folder.rmdir()
    folder.symlink_to(folder.parent)
    with pytest.raises(PermissionError):
        Place(folder)


def test_the_share_of_each_is_one_core_or_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [share_of(trainers) for trainers in (0, 1, 2, 3, 8, 9)] == [8, 8, 4, 2, 1, 1]


@pytest.mark.parametrize(
    ("environment", "words"), [({}, "passive 0 0"), (OWNERS, "active - -"), ({"GOMP_SPINCOUNT": "7"}, "- 7 -")]
)
def test_a_trainer_waits_asleep_unless_its_owner_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "app.py").write_text(APP)
    command = trainer_command(app=f"{tmp_path / 'app.py'}:client", device="cpu")

    async def life() -> str:
        trainer = await Trainer.start(command, env=os.environ | environment)
        try:
            return (await trainer.describe()).name
        finally:
            await trainer.stop()

    assert asyncio.run(life()) == words


@pytest.mark.usefixtures("folder")
def test_a_running_trainer_goes_by_how_many_there_are_now(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = trainer_command(app=f"{tmp_path / 'app.py'}:client", device="cpu", threads=0)
    here, logs = cores.cores_here(), [tmp_path / "first.log", tmp_path / "second.log"]

    async def life() -> None:
        first = await Trainer.start(command, log=logs[0])
        await first.describe()
        second = await Trainer.start(command, log=logs[1])
        await second.describe()
        await first.describe()
        await second.stop()
        await first.describe()
        await first.stop()

    asyncio.run(life())
    told = [[line.partition("threads: ")[2] for line in log.read_text().splitlines()] for log in logs]
    shared = f"{share_of(2)} of {here} cores, shared by 2 trainers"
    alone = f"{here} of {here} cores"
    assert told == [[alone, shared, alone], [shared]] if here > 1 else [[alone], [shared]]


@pytest.mark.parametrize(
    ("limits", "cores_given"),
    [({}, math.inf), ({"a/b": "max 100000"}, math.inf), ({"a/b": "150000 100000"}, 1.5), ({"": "50000 100000"}, 0.5),
     ({"a": "400000 100000", "a/b": "max 100000"}, 4), ({"a": "100000 100000", "a/b": "300000 100000"}, 1)],
)  # fmt: skip
def test_the_time_of_a_container_limits_its_cores(tmp_path: Path, limits: dict[str, str], cores_given: float) -> None:
    root = tmp_path / "cgroup"
    (root / "a" / "b").mkdir(parents=True)
    for group, text in limits.items():
        (root / group / "cpu.max").write_text(text + "\n")
    (tmp_path / "cpu.max").write_text("1 100000\n")  # beside the groups: of nobody
    process = tmp_path / "process"
    process.write_text("0::/a/b\n")
    assert cores.quota(root, process) == cores_given


@pytest.mark.parametrize("told", ["", "4:cpu:/a/b\n", "0::/a\n"])
def test_where_no_limit_can_be_read_there_is_none(tmp_path: Path, told: str) -> None:
    (tmp_path / "process").write_text(told)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cpu.max").write_text("much\n")
    assert cores.quota(tmp_path, tmp_path / "process") == math.inf


def test_half_a_core_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "quota", lambda *_: 0.5)
    assert cores.cores_here() == 1
