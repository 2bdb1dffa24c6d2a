"""How a run begins, and what it must still be when the server is started again.

What it began with (name, task, starting weights) is in the journal: a fed.toml that says something else later is an
error, since the run would go on as if nothing had been said.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from roughfed import crash
from roughfed.adapters import Base
from roughfed.config.federation import FederationConfig
from roughfed.errors import ConfigError, StorageError
from roughfed.files import place_durably
from roughfed.params import Flat, data_offset, digest_file, read_flat, unflatten, write_model
from roughfed.rng import derive
from roughfed.server.model.frozen import ModelDivision, base_of, check_file, divide, lay
from roughfed.server.model.trainer_interface import TrainerInterface
from roughfed.server.storage.store import Store
from roughfed.shared_tensors import is_private
from roughfed.trainer_client import Description
from roughfed.types import Spec
from roughfed.wire.specs import encode_base

log = logging.getLogger(__name__)

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Types of a safetensors file that can be starting weights, as numpy reads them (it has no bfloat16)."""

ANEW = "use the run's own, or start the new one in an empty --dir"
MOST_NAMED = 8


class ModelSource(TrainerInterface, Protocol):
    """Who knows the model: the worker process, or the bench's synthetic one."""

    async def describe(self) -> Description:
        """The model's Spec and task."""
        ...

    async def initial(self, path: Path, *, seed: int) -> bytes:
        """Write seeded initial weights to a model file; returns their digest."""
        ...


async def open_run(
    store: Store, origin: ModelSource, config: FederationConfig, *, entropy: Callable[[int], bytes] = os.urandom
) -> tuple[str, Spec]:
    """The run in the journal, or a new one with version 0 of its model and a name drawn from `entropy`.

    Raises:
        ConfigError: fed.toml or the app is not the journal's run's, or `model.init` does not fit.
    """
    description = await origin.describe()
    division = divide(description, config)
    spec = division.shared
    if config.model.private:
        lacking = division.private
        log.info("%d tensors stay with the clients; the server does not evaluate, their own figures count", lacking)
    given = Path(config.model.init) if config.model.init else None
    if (known := store.run()) is not None:
        if known[1].digest != spec.digest:
            raise ConfigError(
                "the model shares other tensors than the run in this directory (another model or model.private, frozen "
                "or adapters, or scaffold in trainer.method)",
                key="model",
                cure=ANEW,
            )
        await asyncio.to_thread(check_same, store.began(), config, given)
        await asyncio.to_thread(check_base, store, division)
        check_task(description, config)
        return known
    check_task(description, config)
    digest, base = await first_version(store, origin, config, division, store.folder / "models" / "initial.safetensors")
    run = f"{config.federation.name}-{entropy(4).hex()}"
    began = {
        "name": config.federation.name,
        "task": config.federation.task,
        "init": (await asyncio.to_thread(digest_file, given)).hex() if given is not None else "",
        "base": "" if base is None else encode_base(base).hex(),
    }
    await store.create_run(run, spec, digest, time.time(), began=began)
    crash.point("run-created")
    return run, spec


async def first_version(
    store: Store, origin: ModelSource, config: FederationConfig, division: ModelDivision, path: Path
) -> tuple[bytes, Base | None]:
    """Place version 0, and the frozen base if there is one; their digests.

    Raises:
        ConfigError: `model.init` does not fit.
    """
    whole, seed = division.whole, config.federation.seed
    if config.model.init:
        private = config.model.private
        whole = Spec(tuple(t for t in whole.tensors if not is_private(t.name, private)))
        digest = await asyncio.to_thread(write_given, path, whole, Path(config.model.init), private)
    else:
        digest = await origin.initial(path, seed=derive(seed, "initial"))
    base = None
    if division.shared != whole:
        digest, base = await asyncio.to_thread(
            lay, division, path, whole, folder=store.folder, seed=derive(seed, "adapters")
        )
    await asyncio.to_thread(place_durably, path, store.model_path(digest))
    return digest, base


def check_task(description: Description, config: FederationConfig) -> None:
    """The app and the federation must be for the same task.

    Raises:
        ConfigError: they are not.
    """
    if description.task != config.federation.task:
        raise ConfigError(
            f"the app is for {description.task}, the federation for {config.federation.task}",
            key="federation.task",
            cure=f'set federation.task = "{description.task}", or give the app targets of the other kind',
        )


def check_same(began: Mapping[str, str] | None, config: FederationConfig, given: Path | None) -> None:
    """Hold fed.toml against what the run began with.

    Args:
        began: as journaled; None in a journal from before that was noted.
        config: fed.toml now.
        given: the file of `model.init` now.

    Raises:
        ConfigError: the name, the task or the starting weights are others.
    """
    if began is None:
        return
    for word, now in (("name", config.federation.name), ("task", config.federation.task)):
        if now != began[word]:
            raise ConfigError(
                f'the run in this directory began with {word} = "{began[word]}", not "{now}"',
                key=f"federation.{word}",
                cure=ANEW,
            )
    if bool(began["init"]) != (given is not None):
        how = "with" if began["init"] else "without"
        raise ConfigError(f"the run in this directory began {how} given weights", key="model.init", cure=ANEW)
    if given is None:
        return
    try:
        same = digest_file(given).hex() == began["init"]
    except StorageError as error:  # not needed any more: a run goes on from its journal
        log.warning("the weights that the run began with cannot be compared: %s", error)
        return
    if not same:
        raise ConfigError(f"the run here began with other weights than {given}", key="model.init", cure=ANEW)


def check_base(store: Store, division: ModelDivision) -> None:
    """Hold the frozen base that the run began with against fed.toml and the disk.

    Raises:
        ConfigError: another one is wanted.
        StorageError: its file is gone or damaged.
    """
    base = base_of(store)
    if (None if base is None else (base.spec, base.scale)) != (
        None if division.frozen is None else (division.frozen, division.scale)
    ):
        raise ConfigError(
            "the run in this directory stands on another frozen base (model.frozen, adapters, train or adapter_alpha)",
            key="model",
            cure=ANEW,
        )
    if base is not None:
        check_file(store.folder, base)


def write_given(path: Path, spec: Spec, given: Path, private: Sequence[str] = ()) -> bytes:
    """Make a model file of the starting weights in a safetensors file (`model.init`).

    Private tensors may be in it, and are left there: clients begin with their own.

    Returns:
        the model's digest.

    Raises:
        ConfigError: it cannot be read, has other tensors than the model, or values that no float32 can hold.
    """
    try:
        stored = {name: tensor for name, tensor in read_stored(given).items() if not is_private(name, private)}
        if problems := differences(stored, spec):
            more = len(problems) - MOST_NAMED
            raise _unfit(given, "; ".join([*problems[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]))
        return write_model(path, spec, _pieces(stored, spec, given))
    except (OSError, SafetensorError) as error:
        raise _unfit(given, str(error)) from error


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it lies in a safetensors file: its type there, and its bytes, mapped (uint8 [size_bytes])."""

    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]


def read_stored(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file, of any type, none of them read yet.

    Raises:
        OSError, SafetensorError: it cannot be read, or is no such file.
    """
    with safe_open(path, framework="numpy"):
        pass  # header, names, shapes and offsets fit together: what is read below can be believed
    start = data_offset(path)
    data = np.memmap(path, dtype=np.uint8, mode="r")
    header: dict[str, Any] = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    found: dict[str, Stored] = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = Stored(entry["dtype"], tuple(entry["shape"]), data[start + begin : start + end])
    return found


def differences(stored: Mapping[str, Stored], spec: Spec) -> list[str]:
    """What keeps stored tensors from being the weights of a model, a sentence each.

    Integers that the model does not name are no difference: step counters and the like are never part of its vector.
    """
    lines: list[str] = []
    for tensor in spec.tensors:
        found = stored.get(tensor.name)
        if found is None or found.shape != tensor.shape:
            got = "nothing" if found is None else str(found.shape)
            lines.append(f"tensor {tensor.name}: got {got}, want {tensor.shape}")
        elif found.dtype not in FLOATS:
            lines.append(f"tensor {tensor.name}: got {found.dtype}, want one of {', '.join(FLOATS)}")
    named = {tensor.name for tensor in spec.tensors}
    integers = ("I", "U", "BOOL")
    unknown = [name for name, tensor in stored.items() if name not in named and not tensor.dtype.startswith(integers)]
    return lines + [f"tensor {name}: the model has none of this name" for name in sorted(unknown)]


def _pieces(stored: Mapping[str, Stored], spec: Spec, given: Path) -> Iterator[Flat]:
    for tensor in spec.tensors:
        values = _float32(stored[tensor.name])
        if not np.isfinite(values).all():
            raise _unfit(given, f"tensor {tensor.name}: a value is not finite, or too large for float32")
        yield values


def _float32(tensor: Stored) -> Flat:
    raw = np.frombuffer(tensor.data.tobytes(), dtype=FLOATS[tensor.dtype])  # [size]; the file aligns nothing
    if tensor.dtype == "BF16":
        return (raw.astype("<u4") << 16).view("<f4")  # bfloat16 is the upper half of a float32
    with np.errstate(over="ignore"):  # what overflows is refused by its infinity
        return raw.astype("<f4")


def _unfit(given: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{given}: {why}",
        key="model.init",
        cure="give a safetensors file with the model's names and shapes, all of them finite floats",
    )


class Drawing(Protocol):
    """Who makes fresh weights: the worker process, in the end."""

    async def __call__(self, path: Path, *, seed: int) -> bytes:
        """Write seeded weights of the shared tensors to a model file; returns their digest."""
        ...


async def draw_shared(initial: Drawing, whole: Spec, shared: Spec, path: Path, seed: int) -> bytes:
    """Fresh seeded weights, and of these the tensors that are shared; returns their digest.

    Args:
        initial: writes the whole model's.
        whole: what that is.
        shared: the tensors that travel.
        path: where the model file goes.
        seed: of the weights.
    """
    digest = await initial(path, seed=seed)
    if whole == shared:
        return digest
    values = unflatten(np.array(read_flat(path)), whole)
    return await asyncio.to_thread(write_model, path, shared, [values[t.name].ravel() for t in shared.tensors])
