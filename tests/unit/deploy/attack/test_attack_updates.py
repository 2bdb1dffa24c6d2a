"""Trainers that send something else than they learned."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roughfed.config.client import ClientConfig
from roughfed.deploy.attack import ATTACKS
from roughfed.deploy.attack.__main__ import trainer_of
from roughfed.deploy.attack.collusion import Meeting
from roughfed.deploy.attack.correlated_updates import RelatedTrainer, related
from roughfed.deploy.attack.options import parse, plot_of
from roughfed.deploy.attack.poison import POISONS, PoisonContext, times
from roughfed.deploy.attack.updates import AttackPlan, PoisoningTrainer
from roughfed.deploy.synthetic import SyntheticTrainer, pieces, spec_of
from roughfed.errors import ConfigError, TrainerError
from roughfed.params import write_model
from roughfed.training import FitResult, Turn

SIZE = 300_000  # more than one slice
TURNED = replace(POISONS["sign-flip"], make=times(-1.0))


async def fit(trainer: object, folder: Path, number: int, *, seed: int = 3) -> tuple[FitResult, np.ndarray]:
    """Train from a model whose values are all the round's number."""
    assert isinstance(trainer, SyntheticTrainer | PoisoningTrainer)
    model, delta = folder / f"model-{number}-{seed}", folder / f"delta-{seed}"
    write_model(model, spec_of(SIZE), [np.full(SIZE, number, dtype=np.float32)])
    result = await trainer.fit(model, delta, settings={}, seed=seed, turn=Turn(number))
    model.unlink()  # nobody keeps models
    return result, np.fromfile(delta, dtype="<f4")


def played(trainer: object, folder: Path, rounds: Sequence[int]) -> list[np.ndarray]:
    return [asyncio.run(fit(trainer, folder, number))[1] for number in rounds]


def honest(seed: int = 3) -> np.ndarray:
    return np.concatenate(list(pieces(SIZE, seed)))


def plotted(name: str, **changes: object) -> PoisoningTrainer:
    return PoisoningTrainer(SyntheticTrainer(SIZE, examples=4), AttackPlan(POISONS[name], **changes))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", [name for name, p in POISONS.items() if not p.colludes and not p.claims])
def test_what_is_sent_is_what_the_table_crafts(tmp_path: Path, name: str) -> None:
    result, delta = asyncio.run(fit(plotted(name, clients=20, attackers=4), tmp_path, 1))
    own = honest()
    wanted = POISONS[name].craft(PoisonContext(own[None], own, 20, 4, np.random.default_rng(0)))
    assert result.num_examples == 4
    if name == "gaussian":
        assert np.linalg.norm(delta) == pytest.approx(np.linalg.norm(wanted), rel=1e-4)
    else:
        np.testing.assert_array_equal(delta, wanted)


def test_a_round_that_is_trained_again_gives_the_same_noise(tmp_path: Path) -> None:
    first, again = (played(plotted("gaussian"), tmp_path, [2])[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_it_begins_after_its_honest_rounds_and_a_round_that_is_trained_again_counts_once(tmp_path: Path) -> None:
    deltas = played(plotted("sign-flip", after=2), tmp_path, (4, 4, 7, 8, 7, 9))
    assert [float(delta @ honest()) > 0 for delta in deltas] == [True, True, True, False, True, False]


def test_the_last_global_step_is_sent_again_and_once_more_when_the_round_is(tmp_path: Path) -> None:
    deltas = played(plotted("free-replay-global"), tmp_path, (1, 3, 3, 4))  # it sat one round out
    assert [set(delta.tolist()) for delta in deltas] == [{0.0}, {2.0}, {2.0}, {1.0}]


def test_the_first_update_is_sent_for_ever(tmp_path: Path) -> None:
    trainer = plotted("free-replay-own")
    for number, seed in ((1, 3), (2, 4), (3, 5)):
        _, delta = asyncio.run(fit(trainer, tmp_path, number, seed=seed))
        np.testing.assert_array_equal(delta, honest(3))


def test_examples_are_claimed(tmp_path: Path) -> None:
    result, delta = asyncio.run(fit(plotted("inflated-count"), tmp_path, 1))
    assert result.num_examples == 10**12
    np.testing.assert_array_equal(delta, -honest())


def test_progress_comes_through() -> None:
    inner = SyntheticTrainer(SIZE)
    trainer, heard = PoisoningTrainer(inner, AttackPlan(TURNED)), list[float]()
    assert inner.on_progress is not None
    inner.on_progress(0.1)  # nobody wants to know yet
    trainer.on_progress = heard.append
    inner.on_progress(0.5)
    assert heard == [0.5]


# -- together ---------------------------------------------------------------------------------------------------------


def colluders(folder: Path, name: str, sizes: Sequence[int], *, jitter: float = 0.0) -> list[PoisoningTrainer]:
    def plot(at: int) -> AttackPlan:
        meeting = Meeting(folder / "socket", f"c{at}", of=len(sizes))
        return AttackPlan(POISONS[name], 20, len(sizes), jitter, meeting=meeting)

    return [PoisoningTrainer(SyntheticTrainer(size), plot(at)) for at, size in enumerate(sizes)]


async def together(trainers: Sequence[PoisoningTrainer], folder: Path, number: int) -> list[np.ndarray]:
    try:
        fits = (fit(trainer, folder, number, seed=seed) for seed, trainer in enumerate(trainers))
        return [delta for _, delta in await asyncio.gather(*fits)]
    finally:
        await asyncio.gather(*(trainer.stop() for trainer in trainers))


@pytest.mark.parametrize("name", [name for name, poison in POISONS.items() if poison.colludes])
def test_colluders_send_what_is_crafted_of_all_they_trained(tmp_path: Path, name: str) -> None:
    deltas = asyncio.run(together(colluders(tmp_path, name, [SIZE] * 3), tmp_path, 1))
    known = np.stack([honest(seed) for seed in range(3)])
    wanted = POISONS[name].craft(PoisonContext(known, known[0], 20, 3, np.random.default_rng(0), fellows=known))
    for delta in deltas:
        np.testing.assert_array_equal(delta, wanted)


def test_colluders_with_jitter_send_no_copies(tmp_path: Path) -> None:
    one, other = asyncio.run(together(colluders(tmp_path, "alie", [SIZE] * 2, jitter=0.1), tmp_path, 1))
    apart = np.linalg.norm(one - other) / np.linalg.norm(one)
    assert apart == pytest.approx(0.1 * np.sqrt(2), rel=0.05)


def test_colluders_of_different_models_say_so(tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        asyncio.run(together(colluders(tmp_path, "ipm", [SIZE, SIZE - 1]), tmp_path, 1))
    assert caught.value.reason == "colluders"


def test_related_updates_have_as_much_in_common_as_was_asked_for(tmp_path: Path) -> None:
    trainer = RelatedTrainer(SIZE, 0.6)
    a, b = (asyncio.run(fit(trainer, tmp_path, 2, seed=seed))[1] for seed in (3, 4))
    assert float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) == pytest.approx(0.6, abs=0.03)
    np.testing.assert_array_equal(a, np.concatenate(list(related(SIZE, 3, round_number=2, agree=0.6))))


# -- the command line -------------------------------------------------------------------------------------------------


def trainer_for(command: str, *, params: int = SIZE) -> object:
    name, *more = command.split()
    given = parse([name, "--dir", ".", *(["--params", str(params)] if params else []), *more])
    return trainer_of(given, ATTACKS[name], ClientConfig())


@pytest.mark.parametrize(
    ("command", "factor"),
    [
        ("none", 1),
        ("sign-flip", -1),
        ("sign-flip --factor 3", -3),
        ("sign-flip-10", -10),
        ("scale --factor 4", 4),
        ("scale", 10),
    ],
)
def test_the_table_and_the_flag_give_the_factor(tmp_path: Path, command: str, factor: float) -> None:
    _, delta = asyncio.run(fit(trainer_for(command), tmp_path, 1))
    np.testing.assert_array_equal(delta, honest() * np.float32(factor))


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [("", 5.0), ("--of 4", 5.0), ("--of 4 --clients 10", 2.5), ("--clients 8", 8.0)],
)
def test_who_knows_no_better_takes_itself_for_one_in_five(flags: str, wanted: float) -> None:
    plot = plot_of(parse(["backdoor", "--dir", ".", *flags.split()]), ATTACKS["backdoor"], POISONS["backdoor"])
    assert plot.clients / plot.attackers == wanted


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("label-flip", "--params"),
        ("false-sketch --factor 2", "--factor"),
        ("alie", "--colluders"),
        ("alie --colluders s --of 1", "--of"),
        ("sign-flip --colluders s --of 2", "--colluders"),
        ("sign-flip --of 2", "--of"),
        ("gaussian --jitter 0.1", "--jitter"),
        ("ipm --jitter -1", "--jitter"),
        ("ipm --patience 3", "--patience"),
        ("ipm --clients 20", "--clients"),
        ("alie --colluders s --of 3 --clients 2", "--clients"),
        ("sign-flip --target 3", "--target"),
        ("sign-flip --source 3", "--source"),
        ("wrong-shape --after 3", "--after"),
        ("none --after 3", "--after"),
        ("sign-flip --after -1", "--after"),
        ("sign-flip --agree 2", "--agree"),
        ("sign-flip --pace -1", "--pace"),
        ("sign-flip --examples -1", "--examples"),
        ("alie --colluders no/where --of 3", "--colluders"),
        (f"alie --colluders {'s' * 120} --of 3", "--colluders"),
    ],
)
def test_a_flag_without_an_effect_is_refused(command: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trainer_for(command)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("label-flip --after 1", "--after"),
        ("none --agree 0.5", "--agree"),
        ("sign-flip --pace 1", "--pace"),
        ("sign-flip --examples 9", "--examples"),
        ("backdoor --target -1", "--target"),
        ("targeted-flip --source -1", "--source"),
        ("backdoor --source 3", "--source"),
        ("backdoor --part 3", "--part"),
        ("edge-case --target 7", "--target"),
        ("dba --part 5", "--part"),
        ("targeted-flip --target 0", "--target"),  # of class 0, where nobody says of which
    ],
)
def test_so_it_is_where_data_are_trained_on(command: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trainer_for(command, params=0)
    assert caught.value.key == key
