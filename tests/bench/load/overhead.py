"""What the framework adds to training: a real federation on Fashion-MNIST against a plain PyTorch loop.

Both sides train the same model on the same batches
with one thread; the federation's side counts every process (server, worker, agents, trainers), the plain loop is one
process. The first round is not counted: what starting costs is reported apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.demo.options import DemoOptions, preset_of
from roughfed.deploy.speed.measure import Sampler, machine
from roughfed.deploy.speed.round import read_journal
from roughfed.errors import RoughfedError
from roughfed.rng import derive
from tests.bench.command import Benchmark

DATA = "fashion-mnist"
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class OverheadOptions:
    """What is trained, and by how many."""

    clients: Annotated[int, typer.Option(min=1, help="Clients, each a process with a trainer of its own.")] = 8
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; the first one is not counted.")] = 5
    alpha: Annotated[float, typer.Option(help="Skew of the Dirichlet division; smaller is more skewed.")] = 0.5
    evaluate: Annotated[bool, typer.Option(help="Evaluate in every round, as a real federation does by default.")] = (
        False
    )


def run_overhead_bench(options: OverheadOptions) -> dict[str, object]:
    """Measure both sides.

    Returns:
        the figures; `overhead_share` is what the framework adds to the plain loop's processor seconds.
    """
    bare = plain_seconds(options)
    federated = federated_seconds(options)
    return {
        "bench": "overhead",
        "clients": options.clients,
        "rounds": options.rounds,
        "alpha": options.alpha,
        "evaluate": options.evaluate,
        "cpu_seconds_plain": bare,
        **federated,
        "overhead_share": float(str(federated["cpu_seconds"])) / bare - 1.0,
        "machine": machine(),
    }


def federated_seconds(options: OverheadOptions) -> dict[str, object]:
    """Play `roughfed demo` and count all its processes."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        out = Path(temporary) / "demo"
        command = [sys.executable, "-m", "roughfed.deploy.cli", "demo", "--data", DATA, "--json", "--out", str(out)]
        flags = ("--clients", str(options.clients), "--rounds", str(options.rounds), "--alpha", str(options.alpha))
        flags += ("--server-sees", "updates")  # the plain loop's other half: no codec, no masks
        environment = os.environ | ({} if options.evaluate else {"ROUGHFED_ROUND__EVALUATE_EVERY": "0"})
        with Sampler() as sampler:
            demo = subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, env=environment)
            try:
                track = sampler.watch_family(demo.pid)
                code = demo.wait(timeout=TIMEOUT_S)
            finally:
                demo.kill()
        if code:
            raise RoughfedError(f"the demo ended with {code}")
        played = read_journal(out / "server" / "state" / "journal.db")
    begin, end = played[0].closed_at, played[-1].closed_at
    return {
        "cpu_seconds": track.cpu_between(begin, end),
        "seconds": end - begin,
        "cpu_seconds_before_round_1": track.cpu_at(played[0].opened_at),
        "cpu_seconds_round_1": track.cpu_between(played[0].opened_at, played[0].closed_at),
    }


def plain_seconds(options: OverheadOptions) -> float:
    """Processor seconds of the plain loop over the same clients' data, for the counted rounds."""
    settings = json.dumps({"clients": options.clients, "rounds": options.rounds, "alpha": options.alpha})
    command = [sys.executable, "-m", "tests.bench.load.overhead", settings]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT_S)
    return float(done.stdout)


def plain(options: OverheadOptions) -> float:
    """The plain loop, as anybody would write it; in a process of its own, since it imports torch."""
    import torch

    from roughfed import models
    from roughfed.data.federate import share_of

    torch.set_num_threads(1)
    demo = DemoOptions(clients=options.clients, data=DATA, alpha=options.alpha)
    trainer = preset_of(demo).trainer
    shares = [
        share_of(DATA, clients=options.clients, index=index, seed=0, alpha=options.alpha)[0]
        for index in range(options.clients)
    ]
    tensors = [(torch.as_tensor(share.x), torch.as_tensor(share.y).long()) for share in shares]
    model = models.build(preset_of(demo).model, tuple(shares[0].x.shape[1:]), shares[0].num_classes, 0)

    def learn(x: torch.Tensor, y: torch.Tensor, batches: Iterator[torch.Tensor]) -> None:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=float(str(trainer["lr"])), momentum=float(str(trainer["momentum"]))
        )
        for batch in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()

    size = int(str(trainer["batch_size"]))
    learn(*tensors[0], iter([torch.arange(size)]))  # first use loads more of torch
    began = time.process_time()
    for number in range(2, options.rounds + 1):
        for name, (x, y) in zip(demo.names, tensors, strict=True):
            for epoch in range(int(str(trainer["epochs"]))):
                seed = derive(derive(0, "client", name, number), "shuffle", epoch)
                order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
                learn(x, y, iter(order.split(size)))
    return time.process_time() - began


if __name__ == "__main__":
    print(plain(OverheadOptions(**json.loads(sys.argv[1]))))


BENCH = Benchmark(OverheadOptions, run_overhead_bench)
