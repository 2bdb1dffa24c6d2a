"""`export`, `report` and `status` out of a journal, without a server."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from roughfed.deploy.cli import app as cli
from roughfed.params import write_model
from roughfed.server.storage.store import Store
from roughfed.shared_tensors import shared_spec
from roughfed.types import Evaluation, Spec, TensorSpec

SPEC = Spec((TensorSpec("w", (2, 2)), TensorSpec("b", (2,), "float16")))


def evaluation(digest: bytes, correct: int) -> Evaluation:
    return Evaluation(digest, 10, 1.0, (5, 5), (correct, correct))


async def play(store: Store, spec: Spec) -> None:
    """Versions 0 to 2; 1 is the best one, and the file of 0 is gone."""
    for version in range(3):
        path = store.folder / "models" / "next.safetensors"
        digest = write_model(path, spec, [np.full(spec.size, version, dtype=np.float32)])
        path.rename(store.model_path(digest))
        if version == 0:
            await store.create_run("lab-1", spec, digest, 0.0)
        else:
            await store.commit(version, version=version, digest=digest, now=float(version))
            await store.add_evaluations(version, [("", evaluation(digest, 5 - version))])
    store.model_path(store.model(0) or b"").unlink()


@pytest.fixture(params=[False, True], ids=["a model", "control variates behind it"])
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with tempfile.TemporaryDirectory(prefix="rf-") as short:
        root = Path(short)
        (root / "fed.toml").write_text("[model]\nname = 'mlp'\n[data]\nname = 'digits'\n")
        with closing(Store(root / "state")) as store:
            asyncio.run(play(store, shared_spec(SPEC, controls=request.param)))
        yield root


@pytest.mark.parametrize(("wanted", "version"), [("latest", 2), ("best", 1), ("2", 2), ("1", 1)])
def test_a_version_as_safetensors(wanted: str, version: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "model.safetensors"
    assert cli.run(["export", "--dir", str(folder), "--version", wanted, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == version
    tensors = load_file(out)
    assert {name: t.shape for name, t in tensors.items()} == {"w": (2, 2), "b": (2,)}
    assert float(tensors["w"][0, 0]) == version
    assert [p.name for p in folder.iterdir() if "partial" in p.name] == []


def test_a_version_as_state_dict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    out = folder / "model.pt"
    assert cli.run(["export", "--dir", str(folder), "--format", "state-dict", "--out", str(out)]) == 0
    read = getattr(torch, "load")  # noqa: B009  what a user does with our own file; nothing of ours ever loads one
    tensors = read(out, weights_only=True)
    assert list(tensors) == ["w", "b"]
    assert tensors["b"].dtype == torch.float16
    assert tensors["w"].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert "strict=False" in " ".join(capsys.readouterr().err.split())


def test_a_state_dict_loads_as_the_command_says_where_a_strict_load_fails(folder: Path) -> None:
    import torch
    from torch import nn

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2, 2))
            self.head = self.w
            self.b = nn.Parameter(torch.zeros(2))
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    out = folder / "model.pt"
    assert cli.run(["export", "--dir", str(folder), "--format", "state-dict", "--out", str(out)]) == 0
    tensors = getattr(torch, "load")(out, weights_only=True)  # noqa: B009
    model = Tied()
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(tensors)
    left = model.load_state_dict(tensors, strict=False)
    assert (sorted(left.missing_keys), left.unexpected_keys) == (["head", "steps"], [])
    assert model.head.tolist() == [[2.0, 2.0], [2.0, 2.0]]


@pytest.mark.parametrize(("wanted", "why"), [("0", "was not kept"), ("9", "is no version"), ("first", "is no version")])
def test_a_version_that_is_not_there(wanted: str, why: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", "--dir", str(folder), "--version", wanted, "--out", str(folder / "m"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert why in error["cause"]
    assert error["cure"] == "one of: 1, 2, best, latest"


def test_a_folder_that_is_not_there_is_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", "--dir", str(folder), "--out", str(folder / "no" / "m")]) == 4
    assert "No such file or directory" in capsys.readouterr().err


def test_status_of_a_server_that_does_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "--dir", str(folder), "--json"]) == 6
    found = json.loads(capsys.readouterr().out)
    assert (found["running"], found["run"], found["model_version"], found["best_version"]) == (False, "lab-1", 2, 1)
    assert found["accuracy"] == found["worst_class_accuracy"] == pytest.approx(0.6)
    assert cli.run(["status", "--dir", str(folder)]) == 6
    said = capsys.readouterr().out
    assert "stopped between two rounds" in said
    assert "version 2, best 1, accuracy 60 %" in said


def test_a_report_without_rounds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--dir", str(folder), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["report"] == str(folder / "report.html")
    assert "lab-1" in (folder / "report.html").read_text()
    assert cli.run(["report", "--dir", str(folder), "--plain", str(folder), "--json"]) == 0
    assert "Against plain FedAvg" in (folder / "report.html").read_text()


def test_no_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for arguments in (["export", "--out", str(tmp_path / "m")], ["report"]):
        assert cli.run([*arguments, "--dir", str(tmp_path)]) == 2
        assert "hint:" in capsys.readouterr().err
