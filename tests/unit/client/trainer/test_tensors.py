"""client/trainer/model/tensors.py: what is in the flat vector, and that it comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from roughfed import params
from roughfed.client.trainer.model.tensors import load_flat, map_flat, pieces, spec_of, write_delta
from roughfed.errors import ConfigError, StorageError, TrainerError


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))


def saved(model: nn.Module, path: Path) -> Path:
    params.write_model(path, spec_of(model), pieces(model))
    return path


def test_the_spec_names_kinds_and_leaves_counters_out() -> None:
    kinds = {t.name: t.kind for t in spec_of(net()).tensors}
    assert kinds["1.running_mean"] == "buffer"
    assert kinds["1.running_var"] == "variance"
    assert kinds["1.weight"] == "parameter"
    assert "1.num_batches_tracked" not in kinds


def test_a_model_file_is_read_by_any_safetensors_reader_and_comes_back(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    source, target = net(1), net(2)
    source(torch.randn(5, 1, 8, 8))  # moves BatchNorm's statistics and its counter
    path = saved(source, tmp_path / "m.safetensors")
    spec = spec_of(target)
    load_flat(target, spec, map_flat(path, spec))
    ours, read = source.state_dict(), load_file(path)
    for name, tensor in target.state_dict().items():
        if name == "1.num_batches_tracked":
            assert (int(ours[name]), int(tensor)) == (1, 0)  # stays where it is
        else:
            assert torch.equal(tensor, ours[name])
            np.testing.assert_array_equal(read[name], ours[name].numpy())


def test_delta_is_local_minus_global_and_the_global_file_stays(tmp_path: Path) -> None:
    model = net()
    path = saved(model, tmp_path / "m.safetensors")
    before = path.read_bytes()
    spec = spec_of(model)
    flat = map_flat(path, spec)
    load_flat(model, spec, flat)
    with torch.no_grad():
        model[3].bias += 0.5
    write_delta(model, spec, flat, tmp_path / "delta")
    delta = params.unflatten(np.fromfile(tmp_path / "delta", dtype="<f4"), spec)
    np.testing.assert_allclose(delta["3.bias"], 0.5, rtol=1e-6)
    assert sum(np.abs(part).sum() for name, part in delta.items() if name != "3.bias") == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_have_no_delta_when_nothing_moves(tmp_path: Path, dtype: torch.dtype) -> None:
    wide, narrow = net(3), net(4).to(dtype)
    spec = spec_of(narrow)
    assert {t.dtype for t in spec.tensors} == {str(dtype).removeprefix("torch.")}
    flat = map_flat(saved(wide, tmp_path / "m.safetensors"), spec)
    load_flat(narrow, spec, flat)
    write_delta(narrow, spec, flat, tmp_path / "delta")
    assert not np.fromfile(tmp_path / "delta", dtype="<f4").any()
    assert torch.equal(narrow.state_dict()["3.weight"], wide.state_dict()["3.weight"].to(dtype))


def test_a_tied_tensor_travels_once() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    assert [t.name for t in spec_of(model).tensors] == ["embed.weight"]


@pytest.mark.parametrize(
    ("tensor", "say"),
    [
        (torch.zeros(2, dtype=torch.complex64), "complex"),
        (torch.zeros(2, device="meta"), "no data"),
        (torch.zeros(2, dtype=torch.float8_e4m3fn), "float8"),
        (torch.eye(2).to_sparse(), "sparse"),
    ],
    ids=["complex", "meta", "float8", "sparse"],
)
def test_tensors_that_cannot_be_averaged_are_refused_by_name(tensor: torch.Tensor, say: str) -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("odd", tensor)
    with pytest.raises(ConfigError, match=f"odd.*{say}"):
        spec_of(model)


def test_lazy_and_empty_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="not initialised"):
        spec_of(nn.LazyLinear(3))
    with pytest.raises(ConfigError, match="nothing to learn"):
        spec_of(nn.ReLU())


def test_a_file_of_another_size_or_kind_is_refused(tmp_path: Path) -> None:
    path = saved(nn.Linear(2, 2), tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="24 bytes of parameters, the model has 36"):
        map_flat(path, spec_of(nn.Linear(2, 3)))
    path.write_bytes(b"no model")
    with pytest.raises(StorageError, match="not a model file"):
        map_flat(path, spec_of(nn.Linear(2, 2)))
    with pytest.raises(StorageError, match="No such file"):
        map_flat(tmp_path / "absent", spec_of(nn.Linear(2, 2)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_delta_that_is_not_finite_is_divergence(tmp_path: Path, value: float) -> None:
    model = nn.Linear(2, 2)
    spec = spec_of(model)
    with torch.no_grad():
        model.bias[1] = value
    with pytest.raises(TrainerError, match="bias") as caught:
        write_delta(model, spec, np.zeros(6, dtype=np.float32), tmp_path / "delta")
    assert caught.value.reason == "diverged"


def test_a_full_disk_is_an_error() -> None:
    model = nn.Linear(2000, 20)
    spec = spec_of(model)
    with pytest.raises(StorageError, match="No space left"):
        write_delta(model, spec, np.zeros(spec.size, dtype=np.float32), Path("/dev/full"))
