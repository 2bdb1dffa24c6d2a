"""shared/trainer_client.py with the real trainer process: both examples, errors, cancellation and sudden deaths."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from roughfed import params, trainer_client
from roughfed.errors import TrainerError
from roughfed.trainer_client import Trainer, trainer_command
from roughfed.training import Turn

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"

TOY = """\
import os, sys, threading
import numpy as np
import torch
from torch import nn
from roughfed import Client
print("user code prints")
x, y = np.random.default_rng(0).normal(size=(64, 4)), np.arange(64) % 3
client = Client(lambda: nn.Linear(4, 3), (x, y), (x, y))

@client.fit
def loop(model, loader, round):
    if round.number == 1:        # for ever, in batches
        while True:
            for x, y in loader:
                model(x)
    if round.number == 2:        # for ever, deaf
        batches = iter(loader)
        next(batches)
        threading.Event().wait()
    if round.number == 3:
        raise KeyError("mine")
    if round.number == 4:
        sys.exit(7)
    if round.number == 5:
        os._exit(9)
    if round.number == 6:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    next(iter(loader))
    if round.number == 7:
        with torch.no_grad():
            model.bias += float("inf")
    with torch.no_grad():
        model.bias += 1.0
    return {"rounds": float(round.number)}

client.run()
"""


def run(test: Callable[[Trainer], Awaitable[None]], command: list[str], log: Path | None = None) -> None:
    async def whole() -> None:
        trainer = await Trainer.start(command, log=log)
        try:
            async with asyncio.timeout(60):
                await test(trainer)
        finally:
            await trainer.stop()
        assert not trainer.alive

    asyncio.run(whole())


@pytest.fixture
def toy(tmp_path: Path) -> list[str]:
    (tmp_path / "toy.py").write_text(TOY)
    return trainer_command(app=f"{tmp_path / 'toy.py'}:client", device="cpu")


async def fit(trainer: Trainer, folder: Path, *, round: int, **settings: object):
    return await trainer.fit(folder / "m.safetensors", folder / "delta", settings=settings, seed=5, turn=Turn(round))


@pytest.mark.parametrize("example", ["own_model", "own_loop"])
def test_the_examples_join_train_and_repeat_themselves(example: str, tmp_path: Path) -> None:
    async def life(trainer: Trainer) -> None:
        about = await trainer.describe()
        assert (about.task, about.device) == ("classification", "cpu")
        assert "variance" in {t.kind for t in about.spec.tensors}
        model = tmp_path / "m.safetensors"
        digest = await trainer.initial(model, seed=1)
        assert params.digest_file(model, offset=params.data_offset(model)) == digest
        progress: list[float] = []
        trainer.on_progress = progress.append
        before = await trainer.evaluate(model, model_digest=digest)

        result = await fit(trainer, tmp_path, round=1, epochs=4, lr=0.05)
        first = (tmp_path / "delta").read_bytes()
        assert len(first) == about.spec.size_bytes
        assert result.num_examples == about.num_train
        assert result.num_steps == 4 * -(-about.num_train // 32)
        assert result.metrics["loss"] > 0
        again = await fit(trainer, tmp_path, round=1, epochs=4, lr=0.05)
        assert (tmp_path / "delta").read_bytes() == first
        assert again.metrics == result.metrics
        assert progress[0] == 0.0

        local = params.read_flat(model) + np.frombuffer(first, dtype="<f4")
        digest = params.write_model(model, about.spec, [local])
        after = await trainer.evaluate(model, model_digest=digest)
        assert after.num_examples == about.num_test == sum(after.class_count)
        assert len(after.class_count) == about.num_classes
        assert (after.accuracy or 0) > max(0.85, before.accuracy or 0)

    run(life, trainer_command(app=f"{EXAMPLES / example}.py:client", device="cpu"))


def test_the_own_model_takes_fifteen_lines() -> None:
    lines = (EXAMPLES / "own_model.py").read_text().splitlines()
    first, last = lines.index("from roughfed import Client"), lines.index("client.run()")
    assert last - first + 1 <= 15


def test_errors_are_told_apart_and_the_process_stays(toy: list[str], tmp_path: Path) -> None:
    async def life(trainer: Trainer) -> None:
        await trainer.initial(tmp_path / "m.safetensors", seed=1)
        pid = trainer.pid

        async def fails(round: int, **settings: object) -> TrainerError:
            with pytest.raises(TrainerError) as caught:
                await fit(trainer, tmp_path, round=round, **settings)
            return caught.value

        error = await fails(3)
        assert error.reason == "user-code"
        line = TOY[: TOY.index("raise KeyError")].count("\n") + 1
        assert str(error) == f"{tmp_path / 'toy.py'}:{line}: KeyError: 'mine'"
        assert 'raise KeyError("mine")' in error.detail
        assert (await fails(4)).reason == "user-code"
        assert (await fails(7)).reason == "diverged"
        assert (await fails(8, epochz=1)).reason == "refused"
        with pytest.raises(TrainerError, match="unknown name 'dance'"):
            await trainer.call("dance")
        result = await fit(trainer, tmp_path, round=8)
        assert result.metrics == {"rounds": 8.0}
        assert trainer.alive
        assert trainer.pid == pid

        error = await fails(6)
        assert error.reason == "cuda"
        assert not trainer.alive  # a broken CUDA context stays broken
        assert (await fails(8)).reason == "killed"

    run(life, toy, tmp_path / "log")
    assert "user code prints\n" in (tmp_path / "log").read_text()


def test_calls_wait_for_one_another_and_a_cancelled_one_leaves_the_handle_usable(
    toy: list[str], tmp_path: Path
) -> None:
    async def life(trainer: Trainer) -> None:
        digests = await asyncio.gather(*(trainer.initial(tmp_path / f"m{n}", seed=n % 2) for n in range(4)))
        assert digests[0] == digests[2] != digests[1] == digests[3]
        await trainer.initial(tmp_path / "m.safetensors", seed=1)
        training = asyncio.Event()
        trainer.on_progress = lambda _: training.set()
        call = asyncio.create_task(fit(trainer, tmp_path, round=1))
        await training.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        pid = trainer.pid
        assert (await fit(trainer, tmp_path, round=8)).metrics == {"rounds": 8.0}
        assert trainer.pid == pid

    run(life, toy, tmp_path / "log")


def test_a_loop_that_does_not_let_go_is_killed(toy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_client, "ABANDON_S", 0.2)

    async def life(trainer: Trainer) -> None:
        await trainer.initial(tmp_path / "m.safetensors", seed=1)
        training = asyncio.Event()
        trainer.on_progress = lambda _: training.set()
        call = asyncio.create_task(fit(trainer, tmp_path, round=2))
        await training.wait()
        call.cancel()
        with pytest.raises(TrainerError, match="killed by SIGKILL"):
            await fit(trainer, tmp_path, round=8)

    run(life, toy, tmp_path / "log")


def test_a_killed_trainer_is_noticed_at_once_and_another_one_works(toy: list[str], tmp_path: Path) -> None:
    async def life(trainer: Trainer) -> None:
        await trainer.initial(tmp_path / "m.safetensors", seed=1)
        training = asyncio.Event()
        trainer.on_progress = lambda _: training.set()
        call = asyncio.create_task(fit(trainer, tmp_path, round=1))
        await training.wait()
        os.kill(trainer.pid, signal.SIGKILL)
        killed = time.monotonic()
        with pytest.raises(TrainerError, match="killed by SIGKILL") as caught:
            await call
        assert caught.value.reason == "killed"
        assert time.monotonic() - killed < 1.0
        assert not trainer.alive
        second = await Trainer.start(toy, log=tmp_path / "log")
        try:
            assert (await fit(second, tmp_path, round=8)).num_examples == 64
            with pytest.raises(TrainerError, match="ended with status 9"):
                await fit(second, tmp_path, round=5)
        finally:
            await second.stop()

    run(life, toy, tmp_path / "log")


def test_workers_of_a_dataloader_do_not_hide_the_death(tmp_path: Path) -> None:
    """They are forked, and inherit the socket."""
    loader = "torch.utils.data.DataLoader(list(zip(torch.tensor(x), y)), batch_size=4, num_workers=1)"
    (tmp_path / "toy.py").write_text(TOY.replace("(x, y), (x, y))", f"{loader}, (x, y))"))

    async def life(trainer: Trainer) -> None:
        await trainer.initial(tmp_path / "m.safetensors", seed=1)
        training = asyncio.Event()
        trainer.on_progress = lambda _: training.set()
        call = asyncio.create_task(fit(trainer, tmp_path, round=2))  # holds its iterator, and with it the worker
        await training.wait()
        ended = trainer._reader
        os.kill(trainer.pid, signal.SIGKILL)
        async with asyncio.timeout(0.9):
            with pytest.raises(TrainerError, match="SIGKILL"):
                await call
        assert ended.at_eof()

    run(life, trainer_command(app=f"{tmp_path / 'toy.py'}:client", device="cpu"), tmp_path / "log")


def test_it_ends_when_the_parents_end_of_the_socket_closes(toy: list[str], tmp_path: Path) -> None:
    """Idle, and in the middle of a training that never ends."""
    files = {"params": str(tmp_path / "m1"), "delta": str(tmp_path / "delta")}
    endless = {"op": "fit", **files, "settings": {}, "seed": 1, "round": 1}
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("w"))
        alive: list[tuple[subprocess.Popen[bytes], socket.socket]] = []
        for _ in range(2):  # both load torch at once
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            fd = theirs.fileno()
            alive.append((subprocess.Popen([*toy, "--fd", str(fd)], pass_fds=(fd,), stdout=log, stderr=log), ours))
            theirs.close()
        for number, (request, (process, ours)) in enumerate(zip(({"op": "describe"}, endless), alive, strict=True)):
            lines = ours.makefile("rb")
            ours.sendall(f'{{"id": 1, "op": "initial", "path": "{tmp_path / f"m{number}"}", "seed": 1}}\n'.encode())
            assert b'"ok"' in lines.readline()
            ours.sendall(json.dumps({"id": 2, **request}).encode() + b"\n")
            assert lines.readline()  # described, or the first sign of progress
            lines.close()
            ours.close()
            assert process.wait(timeout=10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_it_dies_with_its_parent(toy: list[str], tmp_path: Path) -> None:
    """The parent is killed, and a third process keeps the socket open: only the kernel can end the trainer."""
    parent = (
        "import socket, subprocess, sys, time\n"
        "ours, theirs = socket.socketpair()\n"
        "child = subprocess.Popen([*sys.argv[1:], '--fd', str(theirs.fileno())], pass_fds=(theirs.fileno(),))\n"
        "keeper = subprocess.Popen(['sleep', '60'], pass_fds=(ours.fileno(),))\n"
        'ours.sendall(b\'{"id": 1, "op": "describe"}\\n\')\n'
        "ours.recv(1)\n"
        "print(child.pid, keeper.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent, *toy], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline())[:1].isdigit():
            assert line
        trainer, keeper = (int(pid) for pid in line.split())
        gone = os.pidfd_open(trainer)
        process.kill()
    try:
        assert select.select([gone], [], [], 5.0)[0]
    finally:
        os.close(gone)
        os.kill(keeper, signal.SIGKILL)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(TrainerError, match="cannot start"):
        asyncio.run(Trainer.start(["/no/such/program"]))


def test_a_program_that_talks_nonsense_is_killed() -> None:
    talk = "import socket, sys, time; socket.socket(fileno=int(sys.argv[2])).sendall(b'hello\\n'); time.sleep(60)"

    async def life(trainer: Trainer) -> None:
        with pytest.raises(TrainerError, match="killed by SIGKILL"):
            await trainer.describe()

    run(life, [sys.executable, "-c", talk])


def test_the_handle_imports_no_torch_no_grpc_and_the_trainer_no_grpc() -> None:
    code = (
        "import sys, roughfed.trainer_client; assert not {'torch', 'grpc'} & set(sys.modules)\n"
        "import roughfed.client.trainer.__main__, roughfed.client.trainer.operations; assert 'grpc' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
