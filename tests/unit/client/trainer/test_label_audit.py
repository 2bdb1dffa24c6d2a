"""The list of labels that seem wrong: what is in it, where it lies, and how it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from roughfed.client.trainer.examples.batches import Arrays, open_source
from roughfed.client.trainer.labels.audit import table, write_audit
from roughfed.client.trainer.parts import Context, Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.deploy.cli import app as cli
from roughfed.errors import ConfigError
from roughfed.training import LABEL_AUDIT, Turn

C, N = 3, 300
CPU = torch.device("cpu")


def planted() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs that name their class, labels of which every tenth is wrong, and which those are."""
    true = torch.arange(N) % C
    wrong = torch.arange(N) % 10 == 0
    x = torch.eye(C)[true] + 0.1 * torch.randn(N, C, generator=torch.Generator().manual_seed(0))
    return x, torch.where(wrong, (true + 1) % C, true), wrong


def context_of(number: int, remembered: dict[str, Tensors]) -> Context:
    x, y, _ = planted()
    model = nn.Linear(C, C, bias=False)
    with torch.no_grad():
        model.weight.copy_(4 * torch.eye(C))
    source = Arrays(x, y, CPU, ids=torch.arange(N) + 1000)
    return Context(
        model, source, TrainerSettings(), C, torch.Generator(), round=number, rounds=9, remembered=remembered
    )


def test_planted_labels_are_found_from_the_second_round_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    remembered: dict[str, Tensors] = {}
    write_audit(context_of(1, remembered), folder / LABEL_AUDIT)
    assert not (folder / LABEL_AUDIT).exists()
    assert cli.run(["labels", "--dir", str(tmp_path), "--json"]) == 2  # with what to do about it
    capsys.readouterr()
    for number in (2, 3):
        write_audit(context_of(number, remembered), folder / LABEL_AUDIT)
    assert (folder / LABEL_AUDIT).stat().st_mode & 0o777 == 0o600
    assert cli.run(["labels", "--dir", str(tmp_path), "--json", "--most", "3"]) == 0
    told = capsys.readouterr()
    answer = json.loads(told.out.splitlines()[-1])
    _, y, wrong = planted()
    assert {row["id"] for row in answer["labels"]} == {int(at) + 1000 for at in wrong.nonzero()[:, 0]}
    assert answer["suspected"] == int(wrong.sum())
    for row in answer["labels"]:
        assert row["label"] == int(y[row["id"] - 1000])
        assert row["suggested"] == (row["id"] - 1000) % C
        assert 0 < row["score"] <= 1
    scores = [row["score"] for row in answer["labels"]]
    assert scores == sorted(scores, reverse=True)
    assert told.err.count("example ") == 3


def test_one_poor_round_does_not_change_the_list(tmp_path: Path) -> None:
    remembered: dict[str, Tensors] = {}
    for number in (2, 3):
        write_audit(context_of(number, remembered), tmp_path / "audit.csv")
    before = {line.split(",")[0] for line in (tmp_path / "audit.csv").read_text().splitlines()}
    poor = context_of(4, remembered)
    with torch.no_grad():
        next(poor.model.parameters()).zero_()
    write_audit(poor, tmp_path / "audit.csv")
    assert {line.split(",")[0] for line in (tmp_path / "audit.csv").read_text().splitlines()} == before


def test_a_damaged_list_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / LABEL_AUDIT).write_text("something else\n")
    assert cli.run(["labels", "--dir", str(tmp_path)]) == 4


def test_examples_without_ids_are_refused(tmp_path: Path) -> None:
    x, y, _ = planted()
    source = open_source(DataLoader(TensorDataset(x, y), 10), CPU, torch.float32)
    context = Context(nn.Linear(C, C), source, TrainerSettings(), C, torch.Generator(), round=2, rounds=2)
    with pytest.raises(ConfigError, match="audited"):
        write_audit(context, tmp_path / "audit.csv")


def test_a_clean_set_has_no_suspects_and_the_turn_carries_the_place(tmp_path: Path) -> None:
    labels = torch.arange(9) % C
    assert table(torch.arange(9), labels, torch.eye(C)[labels]).splitlines() == ["id,label,suggested,score"]
    assert Turn.of(json.loads(json.dumps(Turn(2, 3, audit=tmp_path / "x.csv").plain()))).audit == tmp_path / "x.csv"
    assert Turn.of(Turn(2, 3).plain()).audit is None
