"""Trainers as actors of a Ray cluster (extra `[ray]`): what a training reads and writes travels as bytes.

The server and the agents stay in this process; so the machines of the cluster share no folder and see no secret but the
key of a client's own trainer state, which is theirs to read while they train for it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from roughfed.deploy.simulate.program import Program
from roughfed.errors import ConfigError, TrainerError

READ = ("params",)
"""Arguments that name a file to read."""
WRITTEN = ("delta", "path", "out")
"""Arguments that name a file to write."""

Files = dict[str, bytes]


class RemoteTrainer:
    """One trainer on a machine of the cluster: an actor."""

    def __init__(self, program: Program) -> None:
        """Load the crowd's program; one thread, so that the same seed gives the same bytes as elsewhere."""
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        import torch

        from roughfed.client.trainer.virtual_clients import Crowd

        torch.set_num_threads(1)
        self._crowd = Crowd(
            clients=program.clients,
            app=program.app,
            builtin=program.builtin,
            device="cpu",
            report=lambda _: None,
            seed=program.seed,
        )

    def call(self, op: str, arguments: dict[str, Any], files: Files) -> tuple[dict[str, Any], Files]:
        """Do one thing in a folder of its own.

        Args:
            op: as of `roughfed.client.trainer.operations`.
            arguments: files by the names that they have here.
            files: those to be read.

        Returns:
            the answer, or {"error": ...}; and the files that were written, those of the client's state too.
        """
        from roughfed.client.trainer import faults

        with tempfile.TemporaryDirectory(prefix="rf-ray-") as folder:
            place = Path(folder)
            for name, data in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(data)
            answer = faults.answered(partial(self._crowd.run, op, placed(arguments, place)))
            written = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        return answer, {name: data for name, data in written.items() if files.get(name) != data}


def placed(arguments: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """The arguments with their files in a folder."""
    found: dict[str, Any] = {
        key: str(place / key) if key in (*READ, *WRITTEN) else value for key, value in arguments.items()
    }
    if (turn := found.get("turn")) is not None:
        found["turn"] = dict(turn)
        if turn.get("state") is not None:
            found["turn"]["state"] = {**turn["state"], "folder": str(place / "state")}
    return found


class RayPool:
    """A `roughfed.deploy.simulate.pool.Pool` of actors."""

    def __init__(self, address: str, program: Program, *, workers: int) -> None:
        """Connect, and start the actors.

        Args:
            address: of the cluster; "local" starts one on this machine.
            program: what they run; an own app must lie at the same place on every machine.
            workers: actors, each with one core.

        Raises:
            ConfigError: Ray is not installed, or the cluster cannot be reached.
        """
        try:
            ray: Any = import_module("ray")
        except ImportError:
            raise ConfigError("Ray is not installed", key="--ray", cure="pip install 'roughfed[ray]'") from None
        self._ray: Any = ray
        local = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {"address": address}
        try:
            ray.init(**local, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            cause = f"the Ray cluster cannot be reached: {error}"
            raise ConfigError(cause, key="--ray", cure='ray status says whether it runs; "local" starts one') from error
        remote: Any = ray.remote(num_cpus=1, max_restarts=1)(RemoteTrainer)
        self._free: asyncio.Queue[Any] = asyncio.Queue()
        for _ in range(workers):
            self._free.put_nowait(remote.remote(program))

    async def call(self, client: int, op: str, **arguments: object) -> dict[str, Any]:
        """Ask the next actor that is free.

        Raises:
            TrainerError: what the training said; reason "killed": its machine is gone.
        """
        actor = await self._free.get()
        asked = asyncio.ensure_future(self._ask(actor, client, op, arguments))
        asked.add_done_callback(lambda _: self._free.put_nowait(actor))  # also when nobody waits for it any more
        return await asyncio.shield(asked)

    async def _ask(self, actor: Any, client: int, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        files = await asyncio.to_thread(gathered, arguments)
        try:
            answer, written = await actor.call.remote(op, {**plain(arguments), "client": client}, files)
        except self._ray.exceptions.RayError as error:
            raise TrainerError(f"an actor of the cluster is gone: {error}", reason="killed") from error
        if (said := answer.get("error")) is not None:
            raise TrainerError(said["message"], reason=said["reason"], detail=said["trace"])
        await asyncio.to_thread(brought, arguments, written)
        return answer["ok"]

    async def stop(self) -> None:
        """Let go of the cluster; one that was started here ends."""
        await asyncio.to_thread(self._ray.shutdown)


def plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they travel.

    Raises:
        TrainerError: they name files that do not travel.
    """
    turn = _turn(arguments)
    if turn.get("base") is not None or turn.get("audit") is not None or arguments.get("stands_on") is not None:
        raise TrainerError(
            "frozen bases and label audits do not travel to a cluster: leave --ray out", reason="refused"
        )
    return dict(arguments)


def _turn(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return arguments.get("turn") or {}


def gathered(arguments: Mapping[str, Any]) -> Files:
    """The files that a request reads, by the names that they have on the other machine."""
    files = {key: Path(arguments[key]).read_bytes() for key in READ if key in arguments}
    state = _turn(arguments).get("state")
    if state is not None and (folder := Path(state["folder"])).is_dir():
        files |= {f"state/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return files


def brought(arguments: Mapping[str, Any], written: Files) -> None:
    """Put what a request wrote where it was wanted.

    Raises:
        TrainerError: a file that nobody asked for.
    """
    state = _turn(arguments).get("state")
    for name, data in written.items():
        if name in WRITTEN and name in arguments:
            Path(arguments[name]).write_bytes(data)
        elif state is not None and name.startswith("state/") and ".." not in Path(name).parts:
            target = Path(state["folder"]) / name.removeprefix("state/")
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            target.write_bytes(data)
        else:
            raise TrainerError(f"the cluster sent back {name!r}, which nobody asked for", reason="refused")
