"""A model's state dict as the flat float32 [D] vector and back.

In the vector: float parameters, float buffers (BatchNorm's running statistics), each cast to float32.
Not in it: integer and boolean buffers such as `num_batches_tracked`, and extra state; they stay where they are.
A tied tensor (one Parameter under two names) is in it once, under its first name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from roughfed.adapters import LORA_A, WEIGHT
from roughfed.errors import ConfigError, StorageError, TrainerError
from roughfed.file_pool import rewritten
from roughfed.params import Flat, data_offset
from roughfed.types import FLOAT_DTYPES, Kind, Spec, TensorSpec

ADAPTED, ORIGINAL = "parametrizations.weight.0.", "parametrizations.weight.original"
"""Where torch keeps the factors of an adapted weight, and the weight itself."""

FROZEN = "_frozen_base"
"""A model's attribute: what `frozen_names` gives. Copies of the model have it too."""


def spec_of(model: nn.Module) -> Spec:
    """The Spec of a model, in state dict order.

    Raises:
        ConfigError: a tensor that cannot be averaged (complex, quantised, sparse, not initialised), or none at all.
    """
    rows: list[TensorSpec] = []
    for name, tensor in _carried(model):
        dtype, learned = str(tensor.dtype).removeprefix("torch."), isinstance(tensor, nn.Parameter)
        rows.append(TensorSpec(name, tuple(tensor.shape), dtype, _kind(name, is_parameter=learned)))
    if not rows:
        raise ConfigError("the model has no float parameters: there is nothing to learn together", key="model")
    return Spec(tuple(rows))


def map_flat(path: Path, spec: Spec) -> Flat:
    """The flat vector of a model file, float32 [D], mapped: resident only where it is touched, never written.

    Raises:
        ConfigError: its size is not the model's.
        StorageError: it cannot be read, or is no model file.
    """
    try:
        offset = data_offset(path)
        size_bytes = path.stat().st_size - offset
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if size_bytes != spec.size_bytes:
        raise ConfigError(f"{path} holds {size_bytes} bytes of parameters, the model has {spec.size_bytes}")
    # "c": private pages; torch warns about read-only memory
    return np.memmap(path, dtype="<f4", mode="c", offset=offset, shape=(spec.size,))


@torch.no_grad()
def load_flat(model: nn.Module, spec: Spec, flat: Flat) -> None:
    """Set the model's tensors from the flat vector, float32 [D]."""
    for tensor, part in _pairs(model, spec, flat):
        tensor.copy_(part)


@torch.no_grad()
def write_delta(model: nn.Module, spec: Spec, flat: Flat, path: Path, *, behind: Flat | None = None) -> None:
    """Write local minus global parameters as a bare little-endian float32 [D] file.

    The global value is taken as the model could hold it: a bfloat16 tensor that did not move has a delta of zero, not
    the rounding error of its cast.

    Args:
        model: after local training.
        spec: its order.
        flat: the global parameters it started from, float32 [D].
        path: overwritten. Written in order, not mapped: a full disk is then an error and not a SIGBUS.
        behind: what follows the model's delta in the file, float32.

    Raises:
        TrainerError: reason `diverged`: a value is not finite.
        StorageError: the disk refused.
    """
    try:
        with rewritten(path) as file:
            for (tensor, part), row in zip(_pairs(model, spec, flat), spec.tensors, strict=True):
                local = tensor.detach().to("cpu", torch.float32)
                delta = local - part.to(tensor.dtype).to(torch.float32)
                if not bool(torch.isfinite(delta).all()):
                    raise TrainerError(f"local training diverged: {row.name} is not finite", reason="diverged")
                file.write(delta.contiguous().numpy().data)
            if behind is not None:
                if not np.isfinite(behind).all():
                    raise TrainerError("local training diverged: a control variate is not finite", reason="diverged")
                file.write(np.ascontiguousarray(behind, dtype="<f4").data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


@torch.no_grad()
def pieces(model: nn.Module) -> Iterator[Flat]:
    """The flat vector tensor by tensor, for `params.write_model`."""
    for _, tensor in _carried(model):
        yield tensor.detach().to("cpu", torch.float32).contiguous().numpy().reshape(-1)


def _pairs(model: nn.Module, spec: Spec, flat: Flat) -> Iterator[tuple[Tensor, Tensor]]:
    """Each tensor of the Spec beside its float32 part of `flat`, in its shape; private ones are not among them."""
    carried = dict(_carried(model))
    for name, where in spec.slices().items():
        if name not in carried:
            raise ConfigError(f"the model changed while it was used: {name} is gone", key="model")
        yield carried[name], torch.from_numpy(flat[where]).reshape(carried[name].shape)


def named_state(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The entries of a model's state dict, adapters under the names that travel (`roughfed.adapters`)."""
    entries = model.state_dict(keep_vars=True)
    adapted = {name.removesuffix(ADAPTED + LORA_A) for name in entries if name.endswith(ADAPTED + LORA_A)}
    for name, tensor in entries.items():
        stem, found, word = name.partition(ADAPTED) if ADAPTED in name else name.partition(ORIGINAL)
        yield (stem + (word or WEIGHT) if found and stem in adapted else name), tensor


def frozen_names(model: nn.Module) -> frozenset[str]:
    """Names of the tensors that belong to the frozen base of a run; none where all of the model is trained."""
    return getattr(model, FROZEN, frozenset())


def _carried(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the state dict that belong in the flat vector."""
    seen: set[int] = set()
    for name, tensor in named_state(model):
        if not isinstance(tensor, Tensor) or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        _check(name, tensor)
        if tensor.is_floating_point():
            yield name, tensor


def _check(name: str, tensor: Tensor) -> None:
    why = ""
    if is_lazy(tensor):
        why = "is not initialised yet: run one batch through the model before giving it"
    elif tensor.is_complex() or tensor.is_quantized:
        why = f"is {tensor.dtype}: complex and quantised tensors cannot be averaged here"
    elif tensor.layout is not torch.strided or tensor.is_meta:
        why = "is sparse or has no data"
    elif tensor.is_floating_point() and str(tensor.dtype).removeprefix("torch.") not in FLOAT_DTYPES:
        why = f"is {tensor.dtype}, want one of {', '.join(FLOAT_DTYPES)}"
    if why:
        raise ConfigError(f"tensor {name} {why}", key="model")


def _kind(name: str, *, is_parameter: bool) -> Kind:
    if is_parameter:
        return "parameter"
    return "variance" if name.endswith("running_var") else "buffer"
