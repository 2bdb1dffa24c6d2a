"""Trainers that send something else than they learned."""

import argparse
import asyncio
from pathlib import Path

import numpy as np
import pytest

from roughfed.config.client import ClientConfig
from roughfed.deploy.attack import ATTACKS
from roughfed.deploy.attack.__main__ import trainer_of
from roughfed.deploy.attack.related import RelatedTrainer, related
from roughfed.deploy.attack.updates import MultiplyingTrainer
from roughfed.deploy.bench.synthetic import SyntheticTrainer, pieces
from roughfed.errors import ConfigError
from roughfed.training import FitResult, Turn

SIZE = 300_000  # more than one slice


def flags(name: str, **changes: object) -> argparse.Namespace:
    given = {
        "name": name,
        "dir": Path(),
        "after": 0,
        "factor": 0.0,
        "params": 50,
        "agree": 0.0,
        "pace": 0.0,
        "examples": 1,
    }
    return argparse.Namespace(**(given | changes))


async def fit(trainer: object, folder: Path, number: int, *, seed: int = 3) -> tuple[FitResult, np.ndarray]:
    assert isinstance(trainer, SyntheticTrainer | MultiplyingTrainer)
    result = await trainer.fit(folder / "no-params", folder / "delta", settings={}, seed=seed, turn=Turn(number))
    return result, np.fromfile(folder / "delta", dtype="<f4")


def honest(seed: int = 3) -> np.ndarray:
    return np.concatenate(list(pieces(SIZE, seed)))


@pytest.mark.parametrize("factor", [-1.0, 10.0, -2.5])
def test_every_value_of_the_delta_is_multiplied(tmp_path: Path, factor: float) -> None:
    trainer = MultiplyingTrainer(SyntheticTrainer(SIZE, examples=4), factor)
    result, delta = asyncio.run(fit(trainer, tmp_path, 1))
    np.testing.assert_array_equal(delta, honest() * np.float32(factor))
    assert result.num_examples == 4


def test_it_begins_after_its_honest_rounds_and_a_round_that_is_trained_again_counts_once(tmp_path: Path) -> None:
    trainer = MultiplyingTrainer(SyntheticTrainer(SIZE), -1.0, after=2)
    signs = [float(asyncio.run(fit(trainer, tmp_path, number))[1] @ honest()) > 0 for number in (4, 4, 7, 8, 7, 9)]
    assert signs == [True, True, True, False, True, False]


def test_progress_comes_through(tmp_path: Path) -> None:
    inner = SyntheticTrainer(SIZE)
    trainer, heard = MultiplyingTrainer(inner, -1.0), list[float]()
    assert inner.on_progress is not None
    inner.on_progress(0.1)  # nobody wants to know yet
    trainer.on_progress = heard.append
    inner.on_progress(0.5)
    assert heard == [0.5]


def test_related_updates_have_as_much_in_common_as_was_asked_for(tmp_path: Path) -> None:
    trainer = RelatedTrainer(SIZE, 0.6)
    a, b = (asyncio.run(fit(trainer, tmp_path, 2, seed=seed))[1] for seed in (3, 4))
    assert float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) == pytest.approx(0.6, abs=0.03)
    np.testing.assert_array_equal(a, np.concatenate(list(related(SIZE, 3, round_number=2, agree=0.6))))


@pytest.mark.parametrize(
    ("name", "given", "factor"), [("sign-flip", 0.0, -1), ("sign-flip", 3.0, -3), ("scale", 4.0, 4)]
)
def test_the_table_and_the_flag_give_the_factor(tmp_path: Path, name: str, given: float, factor: float) -> None:
    trainer = trainer_of(flags(name, factor=given, params=SIZE), ATTACKS[name], ClientConfig())
    _, delta = asyncio.run(fit(trainer, tmp_path, 1))
    np.testing.assert_array_equal(delta, honest() * np.float32(factor))


@pytest.mark.parametrize(
    ("name", "changes", "key"),
    [
        ("label-flip", {}, "--params"),
        ("label-flip", {"params": 0, "after": 1}, "--after"),
        ("false-sketch", {"factor": 2.0}, "--factor"),
        ("none", {"params": 0, "agree": 0.5}, "--agree"),
    ],
)
def test_a_flag_without_an_effect_is_refused(name: str, changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trainer_of(flags(name, **changes), ATTACKS[name], ClientConfig())
    assert caught.value.key == key
