"""A server that knows its model by a file alone: names, shapes and starting weights, and no program (`model.init`).

The file is written where torch is (`roughfed export --initial`). Such a server evaluates and trains nothing itself: the
clients' sums say how good a version is.
"""

# ruff: noqa: ARG002 (the arguments are those of a protocol)

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from safetensors import SafetensorError, safe_open

from roughfed.errors import ConfigError, TrainerError
from roughfed.params import read_flat, write_model
from roughfed.rng import derive
from roughfed.server.model.trainer_interface import Sums
from roughfed.trainer_client import Description, Trainer, description_from, model_description
from roughfed.training import BaseFile, Turn
from roughfed.types import Evaluation

ABOUT = "roughfed_model"
"""Key of the file's metadata that holds what the model is, as JSON."""


async def write(command: Sequence[str], out: Path, *, seed: int) -> int:
    """Write the starting weights of a model, and what it is.

    Args:
        command: of a trainer (`roughfed.trainer_client.trainer_command`).
        out: the file; an existing one is replaced.
        seed: of the federation.

    Returns:
        D.

    Raises:
        TrainerError: the app does not load.
        StorageError: the disk refused.
    """
    with tempfile.TemporaryDirectory(prefix="rf-export-") as folder:
        trainer = await Trainer.start(command, log=Path(folder) / "trainer.log")
        try:
            model = model_description(await trainer.call("describe"))
            first = Path(folder) / "first.safetensors"
            await trainer.initial(first, seed=derive(seed, "initial"))
        finally:
            await trainer.stop()
        spec = description_from(model).spec
        write_model(out, spec, [read_flat(first)], about={ABOUT: json.dumps(model, separators=(",", ":"))})
    return spec.size


def read(path: Path) -> Description:
    """What the model of a file is.

    Raises:
        ConfigError: it is no such file.
    """
    cure = "write it where torch is: roughfed export --initial --out FILE"
    try:
        with (file := safe_open(path, framework="numpy")):
            text = cast("dict[str, str]", file.metadata() or {}).get(ABOUT)
        if text is None:
            cause = f"{path} does not say what the model is (only names and shapes)"
            raise ConfigError(cause, key="model.init", cure=f"{cure}; or name the model: model.app or model.name")
        return description_from(json.loads(text))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no file of a model: {error}", key="model.init", cure=cure) from error


class FileModelSource:
    """A `roughfed.server.model.run_setup.ModelSource` that has a file and no process; what needs one is refused."""

    def __init__(self, path: Path) -> None:
        """Read what the model is.

        Raises:
            ConfigError: the file does not say.
        """
        self._description = read(path)

    async def describe(self) -> Description:
        """What the model is; without data."""
        return self._description

    async def initial(self, path: Path, *, seed: int) -> bytes:
        """Never asked: a run with `model.init` begins with it."""
        raise TrainerError(f"no program here makes weights for {path} (seed {seed})", reason="refused")

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation | None:
        """None: there are no data."""
        return None

    def stand_on(self, base: BaseFile) -> None:
        """Nothing here computes with the base."""

    async def calibrate(
        self,
        params: Path,
        out: Path,
        given: Mapping[str, object],
    ) -> tuple[bytes, tuple[float, ...]] | None:
        """None; `trainer.calibrate` is refused before."""
        return None

    async def score(self, asked: Mapping[str, object]) -> list[Sums]:
        """Refused: scores by accuracy need the server's own examples."""
        raise TrainerError(f"no program here evaluates ({len(asked)} arguments)", reason="refused")

    async def root_counts(self) -> tuple[int, ...]:
        """No examples."""
        return (0,)

    def hold_out(self, take: Sequence[int], *, seed: int) -> None:
        """There is nothing to hold out; `defence.root` is refused before."""

    async def fit_root(
        self,
        params: Path,
        delta: Path,
        *,
        settings: Mapping[str, object],
        seed: int,
        turn: Turn,
        steps: int,
    ) -> bool:
        """False: no update was made."""
        return False

    async def stop(self) -> None:
        """Nothing runs."""
