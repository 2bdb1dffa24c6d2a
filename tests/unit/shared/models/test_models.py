"""Listed models: their size, their seeds, and what they refuse."""

import pytest
import torch
from torch import nn

from roughfed.errors import ConfigError
from roughfed.models import MODELS, build
from roughfed.models.experts import Experts, with_experts
from roughfed.models.nets import attention

LAYER = 4 * 64 + 4 * (64 * 64 + 64) + (64 * 128 + 128) + (128 * 64 + 64)  # of the transformer: norms, attention, MLP


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("cnn", (1, 28, 28), 421_642),
        ("cnn", (1, 8, 8), 320 + 18_496 + 256 * 128 + 128 + 1_290),
        ("cnn-small", (1, 28, 28), 105_866),
        ("cnn-strided", (1, 28, 28), 114_314),
        ("mlp", (1, 28, 28), 199_210),
        ("logistic", (1, 28, 28), 7_850),
        ("logistic", (5,), 60),
        ("resnet-8", (1, 28, 28), 77_754),
        ("resnet-8-bn", (1, 28, 28), 77_754),
        ("resnet-18", (3, 32, 32), 11_173_962),  # what CIFAR-10's usual ResNet-18 has, whatever the norm
        ("transformer", (7,), 2 * 7 * 64 + 2 * LAYER + 2 * 64 + 650),
        ("transformer", (5, 3), 5 * 64 + 4 * 64 + 2 * LAYER + 2 * 64 + 650),
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
    drawn = [key for key in one if one[key].dim() > 1]  # norms begin with ones and zeros
    assert not any(torch.equal(one[key], other[key]) for key in drawn)


def test_unknown_models_are_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError) as refusal:
        build("cnm", (1, 8, 8), 10, seed=0)
    assert refusal.value.cure == "did you mean 'cnn'?"


@pytest.mark.parametrize(("shape", "classes"), [((), 10), ((0, 8, 8), 10), ((1, 8, 8), -1)])
def test_impossible_tasks_are_refused(shape: tuple[int, ...], classes: int) -> None:
    with pytest.raises(ConfigError, match="not a task"):
        build("logistic", shape, classes, seed=0)


@pytest.mark.parametrize("name", ["cnn", "cnn-small", "cnn-strided", "resnet-8", "resnet-18-bn"])
@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_convolutions_want_images(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="wants images"):
        build(name, shape, 10, seed=0)


def test_the_cnn_wants_images_that_can_be_halved_twice() -> None:
    with pytest.raises(ConfigError, match="4 x 4"):
        build("cnn", (1, 3, 8), 10, seed=0)


def test_the_transformer_takes_rows_sequences_and_token_ids() -> None:
    row = build("transformer", (7,), 3, seed=0)
    assert row(torch.zeros(2, 7)).shape == (2, 3)
    assert build("transformer", (5, 4), 3, seed=0)(torch.zeros(2, 5, 4)).shape == (2, 3)
    words = build("transformer", (6,), 3, seed=0, vocabulary=50)
    assert words(torch.tensor([[0, 1, 2, 3, 4, 49]])).shape == (1, 3)
    assert "tokens.embed.weight" in words.state_dict()
    with pytest.raises(ConfigError, match="token ids of shape"):
        build("transformer", (6, 2), 3, seed=0, vocabulary=50)
    with pytest.raises(ConfigError, match="cannot take examples"):
        build("transformer", (1, 2, 3, 4), 3, seed=0)
    with pytest.raises(ConfigError, match="no token ids"):
        build("mlp", (6,), 3, seed=0, vocabulary=50)


def test_the_transformer_tells_features_and_steps_apart() -> None:
    """Two inputs with the same numbers in another order are no longer the same."""
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    table = build("transformer", (5,), 3, seed=0).eval()
    assert not torch.allclose(table(x), table(x.flip(1)))
    line = build("transformer", (5, 1), 3, seed=0).eval()
    assert not torch.allclose(line(x[..., None]), line(x.flip(1)[..., None]))


def test_attention_is_what_the_formula_says() -> None:
    layer = attention.Layer(8, 2, 16)
    x = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    reference.in_proj_weight.data = layer.query_key_value.weight.data
    reference.in_proj_bias.data = layer.query_key_value.bias.data
    reference.out_proj.weight.data, reference.out_proj.bias.data = layer.out.weight.data, layer.out.bias.data
    normed = layer.norm1(x)
    attended = x + reference(normed, normed, normed, need_weights=False)[0]
    want = attended + layer.perceptron(layer.norm2(attended))
    torch.testing.assert_close(layer(x), want)


@pytest.mark.parametrize("name", MODELS)
def test_experts_share_the_trunk_and_the_first_head_is_the_model(name: str) -> None:
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    one, four = build(name, (1, 8, 8), 10, seed=3).eval(), build(name, (1, 8, 8), 10, seed=3, experts=4).eval()
    assert isinstance(four, Experts)
    each = four.each(x)
    assert each.shape == (4, 3, 10)
    torch.testing.assert_close(each[0], one(x))
    torch.testing.assert_close(four(x), each.mean(dim=0))
    assert not torch.equal(each[1], each[2])
    again = build(name, (1, 8, 8), 10, seed=3, experts=4).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in four.state_dict().items())


@pytest.mark.parametrize("experts", [0, 9])
def test_numbers_of_experts_that_cannot_be(experts: int) -> None:
    with pytest.raises(ConfigError, match="experts"):
        build("mlp", (1, 8, 8), 10, seed=0, experts=experts)


def test_a_model_without_a_linear_end_has_no_experts() -> None:
    with pytest.raises(ConfigError, match="ends in ReLU"):
        with_experts(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), 2, 3)
    with pytest.raises(ConfigError, match="ends in Linear"):
        with_experts(nn.Linear(4, 3), 2, 3)  # the whole model is its last layer: there is no trunk
