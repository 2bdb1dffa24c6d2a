"""Parts of a method beside one another: none undoes in silence what another does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from roughfed import params
from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Context, Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.compose import Method
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.errors import ConfigError
from roughfed.methods import read_method
from roughfed.training import Turn

C, ROUNDS = 4, 4
SKEWED = [0] * 20 + [1] * 10 + [2] * 5 + [3] * 2


def net(*, batch_norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(8)] if batch_norm else []
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), *norm, nn.ReLU(), nn.Linear(8, C))


def head_of(model: nn.Sequential) -> nn.Linear:
    head = model[-1]
    assert isinstance(head, nn.Linear)
    return head


def arrays(labels: list[int], *, first_id: int = 0) -> Arrays:
    y = torch.tensor(labels)
    x = torch.randn(len(y), 1, 6, 6, generator=torch.Generator().manual_seed(first_id + 1))
    for c in range(C):
        x[y == c, 0, c] += 2.0
    return Arrays(x, y, torch.device("cpu"), ids=torch.arange(len(y)) + first_id)


def train(model: nn.Module, source: Arrays, method: str, folder: Path, state: dict[str, Tensors], **how: float) -> None:
    """One round from the model's own weights; `how`: round, task, and settings."""
    path, turn, task = folder / "model.safetensors", Turn(int(how.pop("round", 1)), ROUNDS), int(how.pop("task", 0))
    params.write_model(path, spec_of(model), pieces(model))
    chosen = {"method": method, "batch_size": 8, "lr": 0.1, "epochs": 3, "momentum": 0.0, **how}
    settings = TrainerSettings.parse(chosen)
    fit(
        model,
        source,
        Work(path, folder / "delta", settings, 3, turn, C, task=task, remembered=state),
        report=lambda _: None,
    )


def test_the_mean_of_the_weights_is_what_is_adjusted_after_the_last_round(tmp_path: Path) -> None:
    """The mean took the model's place after the adjustment, which was lost."""
    found: list[torch.Tensor] = []
    for method in ("weight-average", "logit-adjustment(post-hoc=true)+weight-average"):
        model = net()
        train(model, arrays(SKEWED), method, tmp_path, {}, round=ROUNDS)
        found.append(head_of(model).bias.detach().clone())
    shares = torch.bincount(torch.tensor(SKEWED)) / len(SKEWED)
    torch.testing.assert_close(found[0] - found[1], shares.log(), atol=1e-5, rtol=1e-5)


def test_the_mean_of_a_normalised_head_is_normalised(tmp_path: Path) -> None:
    model = net()
    train(model, arrays(SKEWED), "ldam+weight-average", tmp_path, {})
    lengths = head_of(model).weight.norm(dim=1)
    torch.testing.assert_close(lengths, lengths.mean().expand(C))
    assert not head_of(model).bias.any()


class Experts(nn.Module):
    """Three heads on one trunk."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.ModuleList(nn.Linear(36, C) for _ in range(3))

    def each(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([head(x.flatten(1)) for head in self.heads])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.each(x).mean(dim=0)


def test_new_examples_of_experts_compete_with_the_classes_that_come_with_them() -> None:
    """The loss of the experts took the place of the one that er-ace had wrapped."""
    source, model = arrays([0] * 4 + [1] * 4), Experts()
    context = Context(model, source, TrainerSettings(), C, torch.Generator().manual_seed(0))
    value, _ = Method(read_method("sade+er-ace"), context).step_value(source.gather(torch.arange(8)))
    value.backward()
    for head in model.heads:
        assert isinstance(head, nn.Linear)
        assert head.weight.grad is not None
        assert not head.weight.grad[2:].any()


@pytest.mark.parametrize("other", ["fedprox", "a-gem", "gem", "lwf", "der++", "global-distillation(who=all)"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_trunk_that_stands_still_is_not_moved_by_others(other: str, optimizer: str, tmp_path: Path) -> None:
    """A gradient of zeros is one all the same: weight decay acted on it."""
    model, state = net(batch_norm=True), {}
    for number, labels in ((1, [0, 1] * 20), (2, [1, 2, 3] * 10)):
        train(model, arrays(labels, first_id=100 * number), f"crt(after=0.5)+{other}", tmp_path, state, round=number)
    before = [tensor.clone() for tensor in model[:-1].state_dict().values()]
    how = {"optimizer": optimizer, "weight_decay": 0.1}
    train(model, arrays([1, 2, 3] * 10, first_id=200), f"crt(after=0.5)+{other}", tmp_path, state, round=3, **how)
    after = model[:-1].state_dict().values()
    assert all(torch.equal(was, now) for was, now in zip(before, after, strict=True))


def test_a_head_that_learns_alone_knows_the_classes_that_are_replayed(tmp_path: Path) -> None:
    """They counted as absent, and their logits grew by the log of a million."""
    model, state = net(), {}
    for number, labels in ((1, [0, 1] * 20), (2, [2, 3] * 20), (3, [2, 3] * 20), (4, [2, 3] * 20)):
        source = arrays(labels, first_id=100 * min(number, 2))
        train(model, source, "crt(after=0.5)+er", tmp_path, state, round=number, task=int(number > 1), epochs=8)
    test = arrays([0, 1, 2, 3] * 30, first_id=900)
    model.eval()
    with torch.no_grad():
        said = model(test.gather(torch.arange(120)).x)
    assert (said.argmax(dim=1) == test.targets).float().mean() > 0.95
    assert abs(said[:, :2].mean() - said[:, 2:].mean()) < 2


@pytest.mark.parametrize(
    "method",
    [
        "packnet+ldam",
        "packnet+crt",
        "packnet+tau-norm",
        "divide-mix+class-balanced",
        "divide-mix+balanced-softmax",
        "divide-mix+er-ace",
        "meta-weight-net+ldam",
        "crt+si",
    ],
)
def test_what_would_undo_another_is_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="cannot stand together"):
        read_method(method)


@pytest.mark.parametrize("method", ["plain", "gem(batch=1)", "er(batch=1)", "a-gem(batch=1)", "der++(batch=1)"])
def test_one_example_has_no_spread(method: str, tmp_path: Path) -> None:
    """BatchNorm refused the single example of a memory, or of a client."""
    model, state = net(batch_norm=True), {}
    for number, labels in ((1, [0, 1] * 8), (2, [2]), (3, [2, 3] * 8)):
        train(model, arrays(labels, first_id=100 * number), method, tmp_path, state, round=number, task=number)
    norm = model[2]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.training
    assert norm.running_var is not None
    assert (norm.running_var > 1e-4).all()
