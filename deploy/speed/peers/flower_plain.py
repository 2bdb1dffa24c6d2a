"""FedAvg in Flower, with nothing trained: run by Flower's own processes, and imported by nothing here.

Every client answers with what it got, plus `STEP`. The strategy is Flower's, with its defaults: all this adds is a line
for each moment at which it asks for a new round. Shapes: D parameters in one float32 array.
"""

# Flower lives in a Python of its own: its classes are not known here.
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

# Modules of flwr, by name: whoever checks this file need not have it.
app: Any = importlib.import_module("flwr.app")
clientapp: Any = importlib.import_module("flwr.clientapp")
serverapp: Any = importlib.import_module("flwr.serverapp")
strategy: Any = importlib.import_module("flwr.serverapp.strategy")

STEP = 0.01

client = clientapp.ClientApp()
server = serverapp.ServerApp()


@client.train()
def train(message: Any, _context: Any) -> Any:
    """Answer at once."""
    (array,) = message.content["arrays"].to_numpy_ndarrays()
    answer = {
        "arrays": app.ArrayRecord([array + np.float32(STEP)]),
        "metrics": app.MetricRecord({"num-examples": 1}),
    }
    return app.Message(content=app.RecordDict(answer), reply_to=message)


def timed(notes: Path) -> Any:
    """Flower's FedAvg that writes down when its rounds begin."""

    class TimedPlain(strategy.FedAvg):
        def configure_train(self, server_round: int, *args: Any) -> Any:
            """Flower's own, with a note of when it was called."""
            note(notes, begins=server_round)
            return super().configure_train(server_round, *args)

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            """Flower's own, with a note of how many answered."""
            got = list(replies)
            note(notes, answers=sum(not reply.has_error() for reply in got))
            return super().aggregate_train(server_round, got)

    return TimedPlain


def note(path: Path, **what: float) -> None:
    """Add a line of JSON with the time (Unix)."""
    with path.open("a") as file:
        file.write(json.dumps({"time": time.time(), **what}) + "\n")


@server.main()
def main(grid: Any, context: Any) -> None:
    """Play the rounds that the run's configuration asks for."""
    config = context.run_config
    clients, notes = int(config["clients"]), Path(config["notes"])
    every = {"min_train_nodes": clients, "min_available_nodes": clients, "fraction_evaluate": 0.0}
    zero = app.ArrayRecord([np.zeros(int(config["params"]), np.float32)])
    result = timed(notes)(**every).start(grid=grid, initial_arrays=zero, num_rounds=int(config["rounds"]))
    (mean,) = result.arrays.to_numpy_ndarrays()
    note(notes, ends=1, lowest=float(mean.min()), highest=float(mean.max()))
