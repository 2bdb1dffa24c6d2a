"""The trainer's half of scoring: models of coalitions are the base and some of the updates, on the same examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from roughfed.client.trainer.evaluation.coalitions import Coalitions, some
from roughfed.client.trainer.evaluation.evaluate import evaluate
from roughfed.client.trainer.examples.batches import Arrays, open_source
from roughfed.client.trainer.model.tensors import load_flat, pieces, spec_of
from roughfed.codec import CODECS
from roughfed.errors import ConfigError, StorageError
from roughfed.params import Flat, write_model

CPU = torch.device("cpu")


def source_of(number: int) -> Arrays:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(number, 6)).astype(np.float32), rng.choice(3, size=number, p=[0.6, 0.38, 0.02])
    found = open_source((x, y), CPU, torch.float32)
    assert isinstance(found, Arrays)
    return found


@pytest.fixture
def scene(tmp_path: Path) -> tuple[nn.Module, Path, list[Flat]]:
    """A model with BatchNorm (its variance must not fall below zero), its file, and four updates."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    spec = spec_of(model)
    write_model(tmp_path / "model", spec, pieces(model))
    rng = np.random.default_rng(1)
    return model, tmp_path / "model", [rng.normal(size=spec.size).astype("<f4") for _ in range(4)]


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_coalition_is_the_base_and_its_members_updates(
    scene: tuple[nn.Module, Path, list[Flat]], tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roughfed.client.trainer.evaluation.coalitions.TILE", 7)  # several pieces
    model, base, deltas = scene
    spec, source = spec_of(model), source_of(200)
    paths, rows = [tmp_path / f"{at}.row" for at in range(4)], list[Flat]()
    for path, delta in zip(paths, deltas, strict=True):
        payload = CODECS[codec].encode(delta)
        path.write_bytes(payload)
        rows.append(CODECS[codec].decode(payload, 0, spec.size, size=spec.size))
    weights = [[0.0] * 4, [0.25] * 4, [0.0, 0.5, 0.0, 0.1]]
    asked = {"params": str(base), "updates": [str(path) for path in paths], "codec": codec, "weights": weights}
    start = np.concatenate(list(pieces(model)))
    variance = spec.slices()["1.running_var"]
    answer = Coalitions("classification", 3, CPU).score(model, source, asked | {"examples": 10_000, "seed": 1})
    for found, row in zip(answer["sums"], weights, strict=True):
        flat = start + (np.array(row) @ np.stack(rows).astype(np.float64)).astype(np.float32)
        flat[variance] = np.maximum(flat[variance], 0)
        load_flat(model, spec, flat)
        want = evaluate(model, source, "classification", report=lambda _: None)
        assert found == [want.num_examples, want.loss_sum, want.class_count, want.class_correct]


def test_few_examples_are_the_same_ones_and_of_every_class() -> None:
    source = source_of(1000)
    few = some(source, 100, 3, seed=5, device=CPU)
    assert isinstance(few, Arrays)
    assert few.targets is not None
    assert source.targets is not None
    count = torch.bincount(few.targets, minlength=3).tolist()
    there = torch.bincount(source.targets, minlength=3).tolist()
    assert count == [max(1, round(n / 10)) for n in there]
    again = some(source, 100, 3, seed=5, device=CPU)
    assert isinstance(again, Arrays)
    assert torch.equal(few.gather(torch.arange(50)).x, again.gather(torch.arange(50)).x)
    assert some(source, 1000, 3, seed=5, device=CPU) is source


def test_files_of_another_size_or_gone_are_an_error_and_no_score(
    scene: tuple[nn.Module, Path, list[Flat]], tmp_path: Path
) -> None:
    model, base, deltas = scene
    short = tmp_path / "short"
    short.write_bytes(deltas[0].tobytes()[:-4])
    for path, error in ((short, ConfigError), (tmp_path / "gone", StorageError)):
        asked = {"params": str(base), "updates": [str(path)], "codec": "identity", "weights": [[1.0]]}
        with pytest.raises(error):
            Coalitions("classification", 3, CPU).score(model, source_of(20), asked | {"examples": 20, "seed": 1})
