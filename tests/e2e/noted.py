"""Masked rounds of clients that learn, and what their versions must be: computed again from what each trained."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from roughfed.deploy.speed.recompute_masked import Clients, digests_from
from roughfed.params import Flat

from .masked import SECRET_SEED, played, verdicts
from .noting_process import STARTED, TRAINED
from .trained import Trained

SCRIPT = f"import runpy; runpy.run_path({str(Path(__file__).with_name('noting_process.py'))!r}, run_name='__main__')"


class Noted(Trained):
    """A masked federation that learns digits; all that the models follow from is known."""

    def __init__(
        self, folder: Path, *, clients: int, rounds: int, settings: Mapping[str, Mapping[str, object]]
    ) -> None:
        tables = {table: dict(values) for table, values in settings.items()}
        tables.setdefault("privacy", {}).setdefault("server_sees", "sketches")
        tables.setdefault("model", {"name": "mlp"})["keep_last"] = rounds + 1  # the first is what all begins with
        super().__init__(folder, clients=clients, rounds=rounds, settings=tables)

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-c", SCRIPT, str(SECRET_SEED)]

    def trainings(self, name: str, number: int) -> list[Path]:
        """What a client trained in a round, one file for each time."""
        return sorted((self.client_folder(name) / TRAINED).glob(f"{number}-*"))

    def trainers_started(self, name: str) -> int:
        """How many trainer processes a client has had."""
        return len((self.client_folder(name) / STARTED).read_text().splitlines())

    def delta(self, name: str, number: int) -> Flat:
        """What a client trained in a round: the same each time, however often somebody died."""
        first, *others = self.trainings(name, number)
        assert all(other.read_bytes() == first.read_bytes() for other in others), (
            f"{name} trained otherwise in {number}"
        )
        return np.fromfile(first, dtype="<f4")

    def is_exact(self) -> bool:
        """Whether every committed version is, to the bit, what the accepted clients trained."""
        found = self.model_digests()
        wanted = digests_from(self.version(found[0]), played(self), Clients(self.delta, SECRET_SEED))
        assert found == [digest.hex() for digest in wanted], f"after {verdicts(self)}"
        return len(found) == self.rounds + 1
