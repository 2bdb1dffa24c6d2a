"""SecAgg+ in Flower, with nothing trained: run by Flower's own processes, and imported by nothing here.

As in Flower's own example: `secaggplus_mod` at the clients, `SecAggPlusWorkflow` at the server. Every client holds a
share of every other's secrets, of which two thirds rebuild one; all else is as Flower sets it. Every client answers
with what it got, plus `STEP`. Shapes: D parameters in one float32 array.
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
common: Any = importlib.import_module("flwr.common")
legacy_client: Any = importlib.import_module("flwr.client")
mod: Any = importlib.import_module("flwr.client.mod")
clientapp: Any = importlib.import_module("flwr.clientapp")
legacy_server: Any = importlib.import_module("flwr.server")
strategy: Any = importlib.import_module("flwr.server.strategy")
workflow: Any = importlib.import_module("flwr.server.workflow")
serverapp: Any = importlib.import_module("flwr.serverapp")

STEP = 0.01


class Client(legacy_client.NumPyClient):
    """Answers at once."""

    def fit(self, parameters: list[Any], _config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """The parameters, each a little larger, with the full weight."""
        return [array + np.float32(STEP) for array in parameters], 1000, {}


client = clientapp.ClientApp(client_fn=lambda _: Client().to_client(), mods=[mod.secaggplus_mod])
server = serverapp.ServerApp()


def timed(notes: Path) -> Any:
    """Flower's FedAvg that writes down when its rounds begin."""

    class Timed(strategy.FedAvg):
        def configure_fit(self, server_round: int, *args: Any) -> Any:
            """Flower's own, with a note of when it was called."""
            note(notes, begins=server_round)
            return super().configure_fit(server_round, *args)

        def aggregate_fit(self, server_round: int, results: list[Any], failures: list[Any]) -> Any:
            """Flower's own, with a note of how many answered."""
            note(notes, answers=len(results))
            return super().aggregate_fit(server_round, results, failures)

    return Timed


def note(path: Path, **what: float) -> None:
    """Add a line of JSON with the time (Unix)."""
    with path.open("a") as file:
        file.write(json.dumps({"time": time.time(), **what}) + "\n")


@server.main()
def main(grid: Any, context: Any) -> None:
    """Play the rounds that the run's configuration asks for."""
    config = context.run_config
    clients, notes = int(config["clients"]), Path(config["notes"])
    zero = common.ndarrays_to_parameters([np.zeros(int(config["params"]), np.float32)])
    every = {"min_fit_clients": clients, "min_available_clients": clients, "fraction_evaluate": 0.0}
    legacy = legacy_server.LegacyContext(
        context=context,
        config=legacy_server.ServerConfig(num_rounds=int(config["rounds"])),
        strategy=timed(notes)(initial_parameters=zero, **every),
    )
    plus = workflow.SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=2 / 3)
    workflow.DefaultWorkflow(fit_workflow=plus)(grid, legacy)
    record = legacy.state.array_records["parameters"]
    mean = next(iter(record.to_numpy_ndarrays()))
    note(notes, ends=1, lowest=float(mean.min()), highest=float(mean.max()))
