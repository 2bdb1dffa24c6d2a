"""What a trainer keeps: it comes back to the bit, or not at all; a round that is done again begins as it did."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from roughfed import files, params
from roughfed.client.trainer import state
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.operations import Operations
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.state import load_state, save_state
from roughfed.crash import TRAINER_POINTS
from roughfed.crypto.sealing import OVERHEAD_BYTES
from roughfed.errors import StorageError
from roughfed.training import StatePlace, Turn

KEY, SPEC = bytes(range(32)), b"s" * 32
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]


def turn(folder: Path, number: int, *, run: str = "run", key: bytes = KEY) -> Turn:
    return Turn(number, 9, run, state=StatePlace(folder, key))


def kept(value: float) -> dict[str, Tensors]:
    return {"part": {"x": torch.full((100,), value), "ids": torch.arange(7)}}


def value_of(found: dict[str, Tensors]) -> float:
    return float(found["part"]["x"][0])


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PIECE", 64)


shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
tensor_rows = st.lists(st.tuples(shapes, st.sampled_from(DTYPES), st.booleans()), max_size=5)
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(parts=st.dictionaries(names, tensor_rows, max_size=3), piece=st.sampled_from([1, 64, 4096]), seed=st.integers(0))
def test_tensors_come_back_to_the_bit(
    parts: dict[str, list[tuple[tuple[int, ...], torch.dtype, bool]]],
    piece: int,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("state")
    generator = torch.Generator().manual_seed(seed % 2**63)
    remembered: dict[str, Tensors] = {}
    for part, rows in parts.items():
        made = [(100 * torch.randn(shape, generator=generator)).to(dtype) for shape, dtype, _ in rows]
        turned = [
            tensor.T if flip and tensor.dim() == 2 else tensor for tensor, (_, _, flip) in zip(made, rows, strict=True)
        ]
        remembered[part] = {f"t/{at}": tensor for at, tensor in enumerate(turned)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "PIECE", piece)
        save_state(turn(folder, 1), SPEC, remembered)
        found = load_state(turn(folder, 2), SPEC)
    assert found.keys() == {part for part, tensors in remembered.items() if tensors}
    for part, tensors in found.items():
        for name, tensor in tensors.items():
            wanted = remembered[part][name]
            assert tensor.dtype == wanted.dtype
            assert tensor.shape == wanted.shape
            assert tensor.contiguous().view(-1).view(torch.uint8).equal(wanted.contiguous().view(-1).view(torch.uint8))


def test_a_round_that_is_done_again_begins_as_it_did(tmp_path: Path) -> None:
    for number in (1, 2, 4):  # not chosen for round 3
        save_state(turn(tmp_path, number), SPEC, kept(number))
    assert value_of(load_state(turn(tmp_path, 5), SPEC)) == 4
    assert value_of(load_state(turn(tmp_path, 4), SPEC)) == 2
    save_state(turn(tmp_path, 4), SPEC, kept(40))
    assert value_of(load_state(turn(tmp_path, 4), SPEC)) == 2
    assert value_of(load_state(turn(tmp_path, 5), SPEC)) == 40
    assert load_state(turn(tmp_path, 1), SPEC) == {}
    assert len(list(tmp_path.iterdir())) == state.KEPT


def test_what_is_forgotten_stays_forgotten_and_who_keeps_nothing_writes_nothing(tmp_path: Path) -> None:
    save_state(turn(tmp_path / "never", 1), SPEC, {"part": {}})
    assert not (tmp_path / "never").exists()
    save_state(turn(tmp_path, 1), SPEC, kept(1))
    save_state(turn(tmp_path, 2), SPEC, {})
    assert load_state(turn(tmp_path, 3), SPEC) == {}
    save_state(Turn(1), SPEC, kept(1))  # no place for it
    assert load_state(Turn(2), SPEC) == {}


def test_it_cannot_be_read_without_the_key(tmp_path: Path) -> None:
    secret = {"memory": {"secret-name": torch.frombuffer(bytearray(b"a patient's image" * 9), dtype=torch.uint8)}}
    save_state(turn(tmp_path, 1), SPEC, secret)
    [path] = tmp_path.iterdir()
    assert b"patient" not in path.read_bytes()
    assert b"secret-name" not in path.read_bytes()


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("what", ["other key", "other model", "empty", "other round's", "moved pieces", "a piece less"])
def test_what_does_not_belong_here_is_lost_and_the_round_before_is_taken(
    what: str, older: bool, tmp_path: Path, small_pieces: None, caplog: pytest.LogCaptureFixture
) -> None:
    del small_pieces
    if older:
        save_state(turn(tmp_path, 1), SPEC, kept(1))
    key, spec = (bytes(32) if what == "other key" else KEY), (b"o" * 32 if what == "other model" else SPEC)
    save_state(turn(tmp_path, 3, key=key), spec, kept(3))
    path = sorted(tmp_path.iterdir())[-1]
    data, head, step = path.read_bytes(), state._HEAD, 64 + OVERHEAD_BYTES
    first, second, rest = data[head : head + step], data[head + step : head + 2 * step], data[head + 2 * step :]
    if what == "empty":
        path.write_bytes(b"")
    elif what == "other round's":
        path.rename(path.with_name(path.name.replace("00003", "00004")))
    elif what == "moved pieces":
        path.write_bytes(data[:head] + second + first + rest)
    elif what == "a piece less":
        path.write_bytes(data[:head] + first + second)
    lost: list[str] = []
    found = load_state(turn(tmp_path, 5), SPEC, on_lost=lost.append)
    assert len(lost) == 1
    assert "is lost" in caplog.text
    assert (value_of(found) == 1) if older else (found == {})


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_file_is_never_taken(
    at: float, bit: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_state(turn(folder, 1), SPEC, kept(1))
    [path] = folder.iterdir()
    data = bytearray(path.read_bytes())
    place = int(at * len(data))
    data[place] ^= 1 << bit
    path.write_bytes(data[:place] if cut else data)
    lost: list[str] = []
    assert load_state(turn(folder, 2), SPEC, on_lost=lost.append) == {}
    assert len(lost) == 1


def test_another_runs_state_is_no_loss_and_makes_room(tmp_path: Path) -> None:
    save_state(turn(tmp_path, 3, run="../other"), SPEC, kept(3))
    assert load_state(turn(tmp_path, 5), SPEC, on_lost=pytest.fail) == {}
    save_state(turn(tmp_path, 1), SPEC, kept(1))
    assert value_of(load_state(turn(tmp_path, 2), SPEC)) == 1
    assert load_state(turn(tmp_path, 4, run="../other"), SPEC) == {}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_said_and_the_older_state_stands(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save_state(turn(tmp_path, 1), SPEC, kept(1))
    with monkeypatch.context() as patch:
        patch.setattr(files.os if call == "fsync" else Path, call, full)
        with pytest.raises(StorageError, match="No space left"):
            save_state(turn(tmp_path, 2), SPEC, kept(2))
    assert len(list(tmp_path.iterdir())) == 1  # what was written of it is gone
    assert value_of(load_state(turn(tmp_path, 3), SPEC, on_lost=pytest.fail)) == 1


# -- in the trainer ----------------------------------------------------------------------------------------------------

APP = """\
import torch
from torch import nn
from roughfed import Client
from roughfed.client.trainer.parts import Hooks
from roughfed.client.trainer.regularize import REGULARIZERS

def remembering(options, context, plan):
    "What it adds to a gradient depends on everything that it has seen."
    state = context.state("fedprox")
    seen = state.setdefault("seen", torch.zeros(3))
    def gradient():
        bias = context.model.bias
        seen.mul_(0.9).add_(bias.grad + torch.rand(3, generator=context.generator))
        bias.grad.add_(seen)
    return Hooks(gradient=gradient)

REGULARIZERS["fedprox"] = remembering
generator = torch.Generator().manual_seed(0)
x, y = torch.randn(40, 4, generator=generator), torch.arange(40) % 3
client = Client(lambda: nn.Linear(4, 3), (x, y), (x, y))
"""
PLAY = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
__import__(sys.argv[2]).play(Path(sys.argv[3]), [1, 2])
"""


def play(folder: Path, rounds: list[int]) -> list[dict[str, Any]]:
    """Train in some rounds, each on the same model; deltas are kept in the folder."""
    (folder / "app.py").write_text(APP)
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    params.write_model(folder / "model", spec_of(net), pieces(net))
    operations = Operations.of(app=f"{folder / 'app.py'}:client", builtin=None, device="cpu", report=lambda _: None)
    answers: list[dict[str, Any]] = []
    for number in rounds:
        files_ = {"params": str(folder / "model"), "delta": str(folder / f"delta-{number}")}
        given = {"method": "fedprox", "batch_size": 8}
        at = turn(folder / "state", number)
        answers.append(operations.run("fit", {**files_, "settings": given, "seed": number, "turn": at.plain()}))
    return answers


@pytest.fixture
def fedprox() -> Any:
    """The app above takes its place; the other tests of this process want it back."""
    from roughfed.client.trainer.regularize import REGULARIZERS

    before = dict(REGULARIZERS)
    yield
    REGULARIZERS.clear()
    REGULARIZERS.update(before)


@pytest.mark.parametrize("point", TRAINER_POINTS)
def test_a_trainer_killed_around_the_writing_goes_on_as_if_it_had_not(
    point: str, tmp_path: Path, fedprox: None
) -> None:
    del fedprox
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calm.mkdir()
    rough.mkdir()
    play(calm, [1, 2, 3])
    env = os.environ | {"ROUGHFED_CRASH_AT": f"{point}:2", "OMP_NUM_THREADS": "1"}
    here = Path(__file__)
    command = [sys.executable, "-c", PLAY, str(here.parent), here.stem, str(rough)]
    done = subprocess.run(command, env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert play(rough, [2, 3])[0]["lost_state"] == 0
    for number in (1, 2, 3):
        assert (calm / f"delta-{number}").read_bytes() == (rough / f"delta-{number}").read_bytes()
    with_state = (calm / "delta-3").read_bytes()
    for path in (calm / "state").iterdir():
        path.unlink()
    play(calm, [3])
    assert with_state != (calm / "delta-3").read_bytes()  # so the state does matter


def test_the_agent_hears_of_a_loss(tmp_path: Path, fedprox: None) -> None:
    del fedprox
    play(tmp_path, [1])
    [path] = (tmp_path / "state").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert [answer["lost_state"] for answer in play(tmp_path, [2, 3])] == [1, 0]
