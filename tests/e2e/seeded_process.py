"""`python seeded_process.py server|client FOLDER SEED NAMES`: a real process whose secrets follow from a seed."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from roughfed import logs
from roughfed.deploy import agent, aggregator
from roughfed.deploy.cli.processes import client_command, worker_command
from roughfed.deploy.simulate.options import FEDERATION
from roughfed.deploy.simulate.seeded import Entropy, Registry, round_secret, training_seed


def server(folder: Path, seed: int, names: list[str]) -> str:
    from roughfed.server.app import Ports, ServerSetup, serve
    from roughfed.server.members.server_credentials import Papers
    from roughfed.server.model.trainer_process import ServerTrainer

    config, state = aggregator.load(folder, {}), aggregator.ServerFiles(folder).state
    registry = Registry(FEDERATION, seed)
    own = registry.admit(aggregator.SERVER_NAME, "server").papers()
    signed = registry.member_list(names, server=aggregator.SERVER_NAME)

    async def lists() -> bytes:
        return signed

    async def obtain() -> Papers:
        return own

    def ready(ports: Ports) -> None:
        print(f"listening {json.dumps(asdict(ports))}", flush=True)

    worker = ServerTrainer(worker_command(folder, config), folder / "worker.log")
    return asyncio.run(
        serve(ServerSetup(config, state, worker, obtain, None, ready, Entropy(seed, "server"), lists=lists))
    )


def client(folder: Path, seed: int, name: str) -> str:
    from roughfed.client.local.trainer_process import TrainerProcess

    config = agent.load(folder, {})
    Registry(FEDERATION, seed).admit(name).write(agent.ClientFiles(folder).papers)
    trainer = TrainerProcess(client_command(folder, config), folder / "trainer.log")
    secrets: agent.How = {"secret": round_secret(seed, name), "training_seed": training_seed(seed, name)}
    return agent.run_blocking(folder, config, trainer, line=None, **secrets)


if __name__ == "__main__":
    logs.setup(level="INFO", json=True)
    role, where, number, who = sys.argv[1:]
    folder, seed = Path(where), int(number)
    print(server(folder, seed, who.split(",")) if role == "server" else client(folder, seed, who))
