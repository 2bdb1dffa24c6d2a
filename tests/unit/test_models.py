"""Listed models: their size, their seeds, and what they refuse."""

import pytest
import torch

from roughfed.errors import ConfigError
from roughfed.models import MODELS, build


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("cnn", (1, 28, 28), 421_642),
        ("cnn", (1, 8, 8), 320 + 18_496 + 256 * 128 + 128 + 1_290),
        ("mlp", (1, 28, 28), 199_210),
        ("logistic", (1, 28, 28), 7_850),
        ("logistic", (5,), 60),
    ],
)
def test_parameter_counts(name: str, shape: tuple[int, ...], parameters: int) -> None:
    assert sum(p.numel() for p in build(name, shape, 10, seed=0).parameters()) == parameters


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("shape", "classes", "outputs"), [((1, 8, 8), 10, 10), ((3, 9, 7), 2, 2), ((1, 8, 8), 0, 1)])
def test_models_map_a_batch_to_outputs(name: str, shape: tuple[int, ...], classes: int, outputs: int) -> None:
    assert build(name, shape, classes, seed=0)(torch.zeros(4, *shape)).shape == (4, outputs)


@pytest.mark.parametrize("name", MODELS)
def test_weights_follow_the_seed_and_the_global_generator_is_left_alone(name: str) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (build(name, (1, 8, 8), 10, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one)


def test_unknown_models_are_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError) as refusal:
        build("cnm", (1, 8, 8), 10, seed=0)
    assert refusal.value.cure == "did you mean 'cnn'?"


@pytest.mark.parametrize(("shape", "classes"), [((), 10), ((0, 8, 8), 10), ((1, 8, 8), -1)])
def test_impossible_tasks_are_refused(shape: tuple[int, ...], classes: int) -> None:
    with pytest.raises(ConfigError, match="not a task"):
        build("logistic", shape, classes, seed=0)


@pytest.mark.parametrize("shape", [(64,), (1, 3, 8), (8, 8)])
def test_the_cnn_wants_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="wants images"):
        build("cnn", shape, 10, seed=0)
