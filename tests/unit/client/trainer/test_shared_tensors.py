"""What travels of a model, and what of a model file is a client's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from roughfed.client.trainer.model.model_file import open_given
from roughfed.client.trainer.model.private import bring, keep, private_tensors
from roughfed.client.trainer.model.tensors import load_flat, pieces, spec_of, write_delta
from roughfed.client.trainer.parts import Tensors
from roughfed.errors import ConfigError
from roughfed.params import write_model
from roughfed.shared_tensors import CONTROL, has_controls, model_part, shared_spec
from roughfed.types import Kind, Spec, TensorSpec


class Net(nn.Module):
    """A normalised layer, and a tied pair."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.first, self.bn1, self.head = nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)
        self.again = self.head.weight
        if start:
            with torch.no_grad():
                for tensor in self.state_dict().values():
                    tensor.fill_(start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bn1(self.first(x)))


NORMS = ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"]
WHOLE = spec_of(Net())


def shared(*private: str, controls: bool = False) -> Spec:
    return shared_spec(WHOLE, private=private, controls=controls)


@given(kinds=st.lists(st.sampled_from(["parameter", "buffer", "variance"]), min_size=1, max_size=8))
def test_each_shared_parameter_has_a_control_variate_behind_the_model(kinds: list[Kind]) -> None:
    rows = [TensorSpec(f"t{at}", (at + 1,), "float16", kind) for at, kind in enumerate(kinds)]
    model = Spec((*rows, TensorSpec("last", (2,))))
    whole = shared_spec(model, controls=True)
    assert whole.tensors[: len(rows) + 1] == model.tensors == model_part(whole).tensors
    behind = whole.tensors[len(rows) + 1 :]
    assert [t.name for t in behind] == [CONTROL + t.name for t in model.tensors if t.kind == "parameter"]
    assert all(t.kind == "buffer" and t.dtype == "float32" for t in behind)
    assert has_controls(whole)
    assert not has_controls(model)
    assert shared_spec(model) == model


def test_patterns_take_away_what_they_match_and_its_variates() -> None:
    names = [t.name for t in shared("*bn*", controls=True).tensors]
    assert names == [
        n for t in WHOLE.tensors if (n := t.name) not in NORMS
    ] + [f"control/{n}" for n in ("again", "first.weight", "first.bias", "head.bias")]  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "why"),
    [
        (["*norm*"], r"'\*norm\*' matches no tensor of the model"),
        (["*bn*", "BN1.*"], r"'BN1\.\*' matches no tensor"),
        (["*"], r"\* leave no parameter"),
        (["*.weight", "*.bias", "again"], "leave no parameter"),  # the running statistics alone teach nothing
    ],
)
def test_patterns_that_mean_nothing_or_everything_are_refused_with_the_names(patterns: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        shared(*patterns)
    assert caught.value.key == "model.private"
    assert "first.weight" in caught.value.cure


def test_no_tensor_may_be_called_like_a_control_variate() -> None:
    with pytest.raises(ConfigError, match="begins with control/"):
        shared_spec(Spec((TensorSpec("control/a", (1,)), TensorSpec("a", (1,)))), controls=True)


def write(path: Path, spec: Spec, model: nn.Module) -> Path:
    values = dict(zip((t.name for t in WHOLE.tensors), pieces(model), strict=True))
    write_model(path, spec, (values.get(t.name, np.full(t.size, 0.25, dtype=np.float32)) for t in spec.tensors))
    return path


@pytest.mark.parametrize("private", [(), ("*bn*",)])
@pytest.mark.parametrize("controls", [False, True])
def test_a_file_says_itself_what_it_has(private: tuple[str, ...], controls: bool, tmp_path: Path) -> None:
    spec = shared(*private, controls=controls)
    given = open_given(write(tmp_path / "m.safetensors", spec, Net(2.0)), Net())
    assert given.spec == model_part(spec)
    assert given.flat.tolist() == [2.0] * given.spec.size
    if controls:
        assert given.controls is not None
        assert given.controls.tolist() == [0.25] * (spec.size - given.spec.size)
    else:
        assert given.controls is None


@pytest.mark.parametrize("spec", [Spec((TensorSpec("other", (2,)),)), Spec(tuple(reversed(WHOLE.tensors)))])
def test_a_file_of_another_model_is_refused(spec: Spec, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, spec, [np.zeros(spec.size, dtype=np.float32)])
    with pytest.raises(ConfigError, match="other tensors than the model"):
        open_given(path, Net())


def test_private_tensors_are_those_of_no_file_with_their_counters_and_without_second_names() -> None:
    assert list(private_tensors(Net(), shared("*bn*"))) == [*NORMS, "bn1.num_batches_tracked"]
    assert list(private_tensors(Net(), shared("head.*"))) == ["bn1.num_batches_tracked", "head.bias"]
    assert private_tensors(Net(), shared()) == {}


def test_they_come_from_the_state_and_go_there_and_never_into_a_delta(tmp_path: Path) -> None:
    spec, model, state = shared("*bn*"), Net(2.0), dict[str, Tensors]()
    own = model.state_dict()  # the model's own memory
    bring(model, spec, state, lambda: Net(5.0))  # nothing is remembered yet
    assert own["bn1.running_var"].tolist() == [5.0, 5.0]
    assert int(own["bn1.num_batches_tracked"]) == 5
    assert own["first.bias"].tolist() == [2.0, 2.0]
    own["bn1.running_mean"].fill_(7.0)
    keep(model, spec, state)
    own["bn1.running_mean"].fill_(9.0)  # what an abandoned training leaves
    bring(model, spec, state, lambda: Net(5.0))
    assert own["bn1.running_mean"].tolist() == [7.0, 7.0]

    given = open_given(write(tmp_path / "m.safetensors", spec, Net(2.0)), model)
    load_flat(model, given.spec, given.flat)
    write_delta(model, given.spec, given.flat, tmp_path / "delta")
    assert np.fromfile(tmp_path / "delta", dtype="<f4").tolist() == [0.0] * spec.size
    assert own["bn1.running_mean"].tolist() == [7.0, 7.0]
