"""Plays a round of Flower's SecAgg+ in this process and prints what it cost, as one line of JSON.

Run by the Python of an environment that has flwr, and need not have roughfed; test_peers.py runs it beside a round of
ours. All that is timed is Flower's own: `secaggplus_mod` for each client, `SecAggPlusWorkflow` for the server. Ours is
only what lies between: a grid that hands each message to its client as a copy, through Flower's serialization, and
loses what the lost clients send. Neither serialization nor grid is timed.

Seconds are processor seconds of this process with all its threads: Flower combines shares in a pool.
Shapes: N clients, D parameters.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Modules of flwr, by name: whoever checks this file need not have it.
app: Any = importlib.import_module("flwr.app")
common: Any = importlib.import_module("flwr.common")
records: Any = importlib.import_module("flwr.compat.common.recorddict_compat")
serde: Any = importlib.import_module("flwr.common.serde")
server: Any = importlib.import_module("flwr.server")
identity: Any = importlib.import_module("flwr.supercore.task_identity").TaskIdentity
workflow: Any = importlib.import_module("flwr.server.workflow")
constant: Any = importlib.import_module("flwr.server.workflow.constant")
secagg: Any = importlib.import_module("flwr.common.secure_aggregation.secaggplus_constants")
secaggplus_mod: Any = importlib.import_module("flwr.client.mod").secaggplus_mod

SERVER_NODE = 1 << 20  # any number that is no client's
MAX_WEIGHT = 1000.0  # the workflow's default
NUM_EXAMPLES = 1000  # the full weight: less would only coarsen Flower's sum


@dataclass
class Stopwatch:
    """Processor seconds by name, with what is paused taken out."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    paused: float = 0.0

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work and note its seconds without those that were paused meanwhile."""
        paused, start = self.paused, time.process_time()
        result = work()
        spent = time.process_time() - start - (self.paused - paused)
        self.seconds.setdefault(name, []).append(spent)
        return result

    def pause(self, work: Callable[[], Any]) -> Any:
        """Do work that counts for nobody who is timed just now."""
        paused, start = self.paused, time.process_time()
        result = work()
        self.paused = paused + time.process_time() - start  # a pause within it lies in this one
        return result


@dataclass
class Client:
    """One client: Flower's modifier around a training that has its result ready."""

    node_id: int
    delta: NDArray[np.float32]  # [D]
    watch: Stopwatch
    context: Any = None

    def __post_init__(self) -> None:
        self.context = app.Context(
            run_id=1, node_id=self.node_id, node_config={}, state=app.RecordDict(), run_config={}
        )

    def answer(self, message: Any) -> tuple[str, Any]:
        """The stage that was asked for, and the reply."""
        stage = str(message.content.config_records[secagg.RECORD_KEY_CONFIGS][secagg.Key.STAGE])
        reply = self.watch.time(f"client {stage}", lambda: secaggplus_mod(message, self.context, self._train))
        return stage, reply

    def _train(self, message: Any, _: Any) -> Any:
        return self.watch.pause(lambda: self._trained(message))

    def _trained(self, message: Any) -> Any:
        status = common.Status(common.Code.OK, "")
        parameters = common.ndarrays_to_parameters([self.delta])
        result = common.FitRes(status, parameters, NUM_EXAMPLES, {})
        return app.Message(records.fitres_to_recorddict(result, False), reply_to=message)


@dataclass
class LocalGrid:
    """Hands messages to the clients one after another; what the lost ones answer to `lost_at` never arrives."""

    clients: dict[int, Client]
    lost: set[int]
    watch: Stopwatch
    lost_at: str = secagg.Stage.COLLECT_MASKED_VECTORS
    sent: dict[str, list[int]] = field(default_factory=dict)  # bytes of each reply, by stage

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        """Flower's call for one stage: all questions out, the replies in."""
        asked = list(messages)
        return self.watch.pause(lambda: [reply for message in asked for reply in self._ask(message)])

    def _ask(self, message: Any) -> list[Any]:
        node_id = message.metadata.dst_node_id
        copy = serde.message_from_proto(serde.message_to_proto(message))
        stage, reply = self.clients[node_id].answer(copy)
        if stage == self.lost_at and node_id in self.lost:
            return []
        wire = serde.message_to_proto(reply)
        self.sent.setdefault(stage, []).append(wire.ByteSize())
        return [serde.message_from_proto(wire)]


@dataclass(frozen=True)
class Proxy:
    """What the workflow wants to know of a client."""

    node_id: int


@dataclass(frozen=True)
class Strategy:
    """Everybody takes part, and the sum is kept as it is: averaging it once more for each client is not SecAgg+'s."""

    nodes: list[int]

    def configure_fit(self, _round: int, parameters: Any, _manager: Any) -> list[tuple[Proxy, Any]]:
        """The same instruction for all."""
        return [(Proxy(node), common.FitIns(parameters, {})) for node in self.nodes]

    def aggregate_fit(
        self, _round: int, results: list[tuple[Proxy, Any]], _failures: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The workflow has written the weighted mean into every result."""
        return results[0][1].parameters, {}


def deltas_of(size: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Seeded updates, uniform in +-0.01, [N, D]."""
    return np.random.default_rng(seed).uniform(-0.01, 0.01, size=(size, dim)).astype(np.float32)


def play(size: int, dim: int, *, lost: int, threshold: int, seed: int) -> dict[str, Any]:
    """One round; seconds of each part, bytes of a client, error of the mean."""
    deltas, nodes, watch = deltas_of(size, dim, seed), list(range(1, size + 1)), Stopwatch()
    clients = {node: Client(node, delta, watch) for node, delta in zip(nodes, deltas, strict=True)}
    grid = LocalGrid(clients, set(nodes[:lost]), watch)
    context = context_of(nodes, dim)
    plus = workflow.SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=threshold, max_weight=MAX_WEIGHT)
    for name in ("setup_stage", "share_keys_stage", "collect_masked_vectors_stage", "unmask_stage"):
        stage = getattr(plus, name)
        setattr(plus, name, lambda *args, stage=stage, name=name: watch.time(name, lambda: stage(*args)))
    plus(grid, context)
    record = context.state.array_records[constant.MAIN_PARAMS_RECORD]
    (mean,) = common.parameters_to_ndarrays(records.arrayrecord_to_parameters(record, keep_input=True))
    want = deltas[lost:].mean(axis=0, dtype=np.float64)
    error = float(np.linalg.norm(mean - want) / np.linalg.norm(want))
    if len(watch.seconds.get("unmask_stage", ())) != 1 or not error < 0.5:
        raise SystemExit(f"SecAgg+ did not finish its round: error {error}, stages {sorted(watch.seconds)}")
    stages = {stage: watch.seconds[f"client {stage}"] for stage in secagg.Stage.all()}
    return {
        "client_s": min(stages[secagg.Stage.COLLECT_MASKED_VECTORS]),
        "client_whole_s": sum(statistics.median(seconds) for seconds in stages.values()),
        "collect_s": watch.seconds["collect_masked_vectors_stage"][0],
        "unmask_s": watch.seconds["unmask_stage"][0],
        "upload_bytes": max(grid.sent[secagg.Stage.COLLECT_MASKED_VECTORS]),
        "all_bytes": sum(max(sizes) for sizes in grid.sent.values()),
        "relative_error": error,
    }


def context_of(nodes: list[int], dim: int) -> Any:
    """The server's context at the first round, its model all zero."""
    zero = common.ndarrays_to_parameters([np.zeros(dim, dtype=np.float32)])
    state = app.RecordDict()
    state.array_records[constant.MAIN_PARAMS_RECORD] = records.parameters_to_arrayrecord(zero, keep_input=True)
    state.config_records[constant.MAIN_CONFIGS_RECORD] = app.ConfigRecord({constant.Key.CURRENT_ROUND: 1})
    context = app.Context(run_id=1, node_id=SERVER_NODE, node_config={}, state=state, run_config={})
    return server.LegacyContext(context, strategy=Strategy(nodes))


def main() -> None:
    """Play the rounds and print the least seconds of each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--params", type=int, default=1_000_000)
    parser.add_argument("--lost", type=int, default=2, help="clients whose masked input never arrives")
    parser.add_argument("--threshold", type=int, default=11, help="shares that rebuild a secret; all clients hold one")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    identity.task_id, identity.run_id, identity.node_id = 1, 1, SERVER_NODE  # as Flower's own start of a server does
    wanted = {"lost": args.lost, "threshold": args.threshold}
    played = [play(args.clients, args.params, **wanted, seed=seed) for seed in range(args.rounds)]
    least = {key: round(min(run[key] for run in played), 4) for key in played[0] if key.endswith("_s")}
    most = {key: max(run[key] for run in played) for key in played[0] if key not in least}
    ratio = {"upload_ratio": round(most["upload_bytes"] / (4 * args.params), 4)}
    print(json.dumps({"flwr": importlib.metadata.version("flwr"), **vars(args), **least, **most, **ratio}))


if __name__ == "__main__":
    main()
