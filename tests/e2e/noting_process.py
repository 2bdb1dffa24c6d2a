"""`python noting_process.py SEED --dir FOLDER`: a client that trains for real, with secrets that follow from a seed.

What it trained stays in FOLDER/trained, one bare float32 file for each time: nobody outside a test could have it.
FOLDER/started has a line for each trainer process that was started.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from roughfed import logs
from roughfed.client.local.trainer_process import TrainerProcess
from roughfed.crypto import join_line
from roughfed.deploy import agent
from roughfed.deploy.cli.processes import client_command
from roughfed.deploy.speed.process import secret_of_seed
from roughfed.training import FitResult, Turn

TRAINED, STARTED = "trained", "started"
SAYING_SO = ("/bin/sh", "-c", 'echo "$$" >> "$0" && exec "$@"')


class NotingTrainer(TrainerProcess):
    """Keeps a copy of each delta before anything else is done with it."""

    folder: Path

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        result = await super().fit(params, delta, settings=settings, seed=seed, turn=turn)
        times = len(list(self.folder.glob(f"{turn.round}-*")))
        shutil.copyfile(delta, self.folder / f"{turn.round}-{times}")
        return result


def main(seed: int, folder: Path) -> str:
    (folder / TRAINED).mkdir(exist_ok=True)
    line = join_line.parse(text) if (text := os.environ.pop(join_line.VARIABLE, "")) else None
    config = agent.load(folder, {})
    command = [*SAYING_SO, str(folder / STARTED), *client_command(folder, config)]
    trainer = NotingTrainer(command, folder / "trainer.log")
    trainer.folder = folder / TRAINED
    return agent.run_blocking(folder, config, trainer, line=line, secret=secret_of_seed(seed, folder))


if __name__ == "__main__":
    logs.setup(level="INFO", json=True)
    print(main(int(sys.argv[1]), Path(sys.argv[3])))
