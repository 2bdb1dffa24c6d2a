"""What of the worker's model travels, and the frozen base beside it (`model.frozen`, `model.adapters`).

The base is a model file in the server's directory, written once when the run begins, of the starting weights of all
tensors that nobody trains. Clients download it by its digest, which is in the server's welcome and, with its names and
the scale of the adapters, in every round's header.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roughfed.adapters import LORA_A, LORA_B, Base, adapted_spec, chosen, factor_names, first_a, split
from roughfed.config.federation import FederationConfig, Model
from roughfed.errors import ConfigError, StorageError
from roughfed.params import Flat, data_offset, digest_file, read_flat, unflatten, write_model
from roughfed.server.model.downlink import DownloadSource
from roughfed.server.model.trainer_interface import TrainerInterface
from roughfed.server.storage.store import Store
from roughfed.shared_tensors import is_private, model_part, shared_spec, some
from roughfed.trainer_client import Description
from roughfed.training import BaseFile
from roughfed.types import Spec, TensorSpec
from roughfed.wire.specs import decode_base

FILE = "base.safetensors"


@dataclass(frozen=True, slots=True)
class ModelDivision:
    """A model, divided.

    Attributes:
        whole: as the worker's app has it.
        shared: what travels, control variates behind it.
        frozen: what nobody trains; None where all of it is trained.
        scale: alpha / r.
        private: tensors that stay with each client.
    """

    whole: Spec
    shared: Spec
    frozen: Spec | None = None
    scale: float = 1.0
    private: int = 0


def divide(description: Description, config: FederationConfig) -> ModelDivision:
    """What fed.toml makes of a model.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to learn together.
    """
    model, controls = config.model, config.trainer.scaffold
    whole = description.spec
    if not model.adapters and not model.frozen:
        shared = shared_spec(whole, private=model.private, controls=controls)
        return ModelDivision(whole, shared, private=len(whole.tensors) - len(model_part(shared).tensors))
    scale = 1.0
    adapted = whole
    if model.adapters:
        ranks = chosen(whole, description.adaptable, model.adapters, model.adapt, [*model.train, *model.private])
        adapted = adapted_spec(whole, ranks)
        scale = (model.adapter_alpha or model.adapters) / model.adapters
        _hidden(ranks, model)
    for key, patterns in (("train", model.train), ("frozen", model.frozen)):
        for pattern in patterns:
            _matches_something(whole, pattern, key)
    rest, frozen = split(adapted, lambda t: is_frozen(t, model))
    if not any(t.kind == "parameter" for t in rest.tensors):
        cure = f"match some of these only: {some([t.name for t in whole.tensors])}"
        raise ConfigError(f"{some(model.frozen)} leave nothing to train", key="model.frozen", cure=cure)
    shared = shared_spec(rest, private=model.private, controls=controls)
    return ModelDivision(whole, shared, frozen, scale, len(rest.tensors) - len(model_part(shared).tensors))


def is_frozen(tensor: TensorSpec, model: Model) -> bool:
    """Whether nobody trains a tensor of the adapted model."""
    word = tensor.name.rpartition(".")[2]
    if is_private(tensor.name, model.private):
        return False
    if not model.adapters:
        return is_private(tensor.name, model.frozen)
    if word in (LORA_A, LORA_B):
        return word == LORA_A and not model.train_a
    return not is_private(tensor.name, model.train)


def _hidden(ranks: dict[str, int], model: Model) -> None:
    for name in ranks:
        if all(is_private(factor, model.private) for factor in factor_names(name)):
            cause = f"both factors of the adapter on {name} stay with the clients: nothing of it would be shared"
            cure = f"name one of {' and '.join(factor_names(name))}, or neither"
            raise ConfigError(cause, key="model.private", cure=cure)


def _matches_something(whole: Spec, pattern: str, key: str) -> None:
    names = [t.name for t in whole.tensors]
    if not any(is_private(name, [pattern]) for name in names):
        cause = f"{pattern!r} matches no tensor of the model"
        raise ConfigError(cause, key=f"model.{key}", cure=f"its names: {some(names)}")


def lay(division: ModelDivision, weights: Path, spec: Spec, *, folder: Path, seed: int) -> tuple[bytes, Base | None]:
    """Divide starting weights: overwrite their file by version 0, and write the base beside the models.

    Args:
        division: see there.
        weights: model file.
        spec: of the tensors in it: the whole model, or all but private ones.
        folder: state directory, for the base.
        seed: of the adapters' A.

    Returns:
        (digest of version 0, the base).

    Raises:
        StorageError: the disk refused.
    """
    values = {name: np.array(part) for name, part in unflatten(np.array(read_flat(weights)), spec).items()}
    base = None
    if division.frozen is not None:
        digest = write_model(folder / FILE, division.frozen, _pieces(division.frozen, values, seed))
        base = Base(division.frozen, digest, division.scale)
    return write_model(weights, division.shared, _pieces(division.shared, values, seed)), base


def _pieces(spec: Spec, values: dict[str, Flat], seed: int) -> Iterator[Flat]:
    """The starting values of tensors: given, drawn (A), or zero (B, control variates)."""
    for tensor in spec.tensors:
        if tensor.name in values:
            yield values[tensor.name]
        elif tensor.name.rpartition(".")[2] == LORA_A and tensor.kind == "parameter":
            yield first_a(tensor, seed)
        else:
            yield np.zeros(tensor.shape, dtype=np.float32)


def check_file(folder: Path, base: Base) -> None:
    """The base must lie where it was written, as it was written.

    Raises:
        StorageError: it is gone or damaged.
    """
    path = folder / FILE
    if not path.exists() or digest_file(path, offset=data_offset(path)) != base.digest:
        raise StorageError(
            f"{path}, the frozen base of the run, is gone or damaged; each client has it in state/base: put it back"
        )


def base_of(store: Store) -> Base | None:
    """The frozen base that the run in the journal stands on; None where all of the model is trained."""
    text = (store.began() or {}).get("base", "")
    return decode_base(bytes.fromhex(text)) if text else None


def stand(worker: TrainerInterface, store: Store) -> Base | None:
    """Let the worker stand on the run's frozen base, if it has one; which one."""
    if (base := base_of(store)) is not None:
        worker.stand_on(BaseFile(store.folder / FILE, base.scale))
    return base


def source_of(folder: Path) -> DownloadSource:
    """What a download of the base reads."""
    path = folder / FILE
    start = data_offset(path)
    return DownloadSource(path, start, path.stat().st_size - start, "identity")
