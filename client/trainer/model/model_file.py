"""What a model file gives this model: all its float tensors, or all but its private ones; and control variates.

The file says which (`roughfed.shared_tensors`): the agent has held its Spec against the model and the federation's
patterns. D parameters in the file, P of them learned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from roughfed.client.trainer.model.tensors import map_flat, spec_of
from roughfed.errors import ConfigError
from roughfed.files import disk_errors
from roughfed.params import Flat, data_offset
from roughfed.shared_tensors import CONTROL, has_controls, model_part, shared_spec
from roughfed.types import Spec, TensorSpec


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file, mapped.

    Attributes:
        spec: of the model's tensors that are in it.
        flat: their values, float32 [D].
        controls: the control variates of all clients together, c, float32 [P]; None where none travel.
    """

    spec: Spec
    flat: Flat
    controls: Flat | None = None


def open_given(path: Path, model: nn.Module) -> ModelFile:
    """Map a model file for a model.

    Raises:
        ConfigError: it has tensors that the model has not, in another order, or of another size.
        StorageError: it cannot be read, or is no model file.
    """
    whole, names = spec_of(model), [row.name for row in read_rows(path)]
    here = Spec(tuple(t for t in whole.tensors if t.name in set(names)))
    learned = any(t.kind == "parameter" for t in here.tensors)
    spec = shared_spec(here, controls=any(name.startswith(CONTROL) for name in names)) if learned else here
    if [t.name for t in spec.tensors] != names or not learned:
        odd = sorted({*names} ^ {t.name for t in spec.tensors}) or ["the same ones in another order"]
        raise ConfigError(f"{path} holds other tensors than the model: {', '.join(odd[:8])}", key="model")
    flat, size = map_flat(path, spec), model_part(spec).size
    return ModelFile(model_part(spec), flat[:size], flat[size:] if has_controls(spec) else None)


def read_rows(path: Path) -> list[TensorSpec]:
    """Names and shapes of the tensors in a model file, in order.

    Raises:
        ConfigError: it is no model file.
        StorageError: it cannot be read.
    """
    start = data_offset(path)
    with disk_errors(f"read {path}"), path.open("rb") as file:
        header = file.read(start)[8:]
    try:
        entries: dict[str, dict[str, Any]] = json.loads(header)
        return [TensorSpec(name, tuple(row["shape"])) for name, row in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is not a model file", key="model") from None
