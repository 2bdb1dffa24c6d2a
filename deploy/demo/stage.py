"""One federation while its processes run: start the server and the clients, watch, and see all of them end well."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from roughfed.codec.plan import plan_lanes
from roughfed.crypto.join_line import VARIABLE
from roughfed.deploy import aggregator
from roughfed.deploy.cli.processes import SHARED_HOST
from roughfed.deploy.demo.options import Act
from roughfed.deploy.demo.place import DemoPlace
from roughfed.deploy.demo.processes import Process, ProcessDied, Processes
from roughfed.deploy.demo.scene import Scene
from roughfed.deploy.demo.screen import Screen
from roughfed.deploy.demo.watch import statuses
from roughfed.deploy.summary import open_store, round_summaries
from roughfed.masking import largest_group

HOST = "127.0.0.1"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # many processes share the cores
ROUGHFED = (sys.executable, "-m", "roughfed.deploy.cli")
ATTACK = (sys.executable, "-m", "roughfed.deploy.attack")


def play(act: Act, place: DemoPlace, scene: Scene, screen: Screen) -> None:
    """Run a federation to its end.

    Raises:
        ProcessDied: a process ended when it should not have; the others were ended.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything was ended.
    """
    stage = Stage(act, place, scene, screen)
    with screen.running():
        try:
            asyncio.run(stage.play())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def warm(scene: Scene) -> None:
    """Compile the codec's kernels, or find them compiled: else every client would, all at once."""
    if scene.server_sees == "updates":
        return
    from roughfed.codec import chain

    chain.warm(plan_lanes(largest_group(len(scene.held))))


@dataclass
class Stage:
    """The processes of an act."""

    act: Act
    place: DemoPlace
    scene: Scene
    screen: Screen

    async def play(self) -> None:
        """Start everything, and return when everything has ended well."""
        me = asyncio.current_task()
        if me is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
        async with Processes() as processes:
            self.tell("starting the server, its worker loads torch")
            await asyncio.gather(self.start_server(processes), asyncio.to_thread(warm, self.scene))
            self.tell(f"starting {len(self.act.clients)} clients, their trainers load torch")
            watching = asyncio.create_task(self.watch())
            try:
                await self.start_clients(processes)
                await processes.all_ended(self.is_over)
                await watching
            finally:
                watching.cancel()

    async def start_server(self, processes: Processes) -> Process:
        """Start it; returns when its ports are open.

        Raises:
            ProcessDied: it did not get so far.
        """
        ready = asyncio.Event()
        noted = aggregator.Place(self.place.server).ports

        def look() -> None:
            if noted.exists():
                ready.set()

        server = await self.start(
            processes, "server", [*ROUGHFED, "server", "--dir", str(self.place.server)], on_output=look
        )
        listening = asyncio.create_task(ready.wait())
        await asyncio.wait({listening, server.ending}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            raise ProcessDied(server.name, server.ending.result(), server.log)
        return server

    async def start_clients(self, processes: Processes) -> None:
        """Invite and start all of them."""
        port = aggregator.known_ports(self.place.server).enrolment
        for name in self.act.clients:
            line = await asyncio.to_thread(aggregator.invite, self.place.server, name, host=HOST, port=port)
            attack = self.act.hostile.get(name)
            command = [*ROUGHFED, "join"] if attack is None else [*ATTACK, *attack]
            command += ["--dir", str(self.place.client(name))]
            await self.start(processes, name, command, secrets={VARIABLE: line.reveal()})

    async def start(
        self,
        processes: Processes,
        name: str,
        command: list[str],
        *,
        secrets: dict[str, str] | None = None,
        on_output: Callable[[], None] | None = None,
    ) -> Process:
        """Start one process of the demo."""
        env = ONE_THREAD | {SHARED_HOST: str(len(self.act.clients) + 1)} | (secrets or {})
        return await processes.start(name, command, log=self.place.log(name), env=env, on_output=on_output)

    async def watch(self) -> None:
        """Follow the run until the server is over."""
        with closing(open_store(self.place.server)) as store:
            async for status in statuses(store.folder):
                self.scene.status = status
                self.scene.rounds = round_summaries(store)
                self.screen.changed()
            self.scene.over = True
            self.scene.rounds = round_summaries(store)
            self.tell("the run is over")

    def is_over(self) -> bool:
        """Whether the journal says so."""
        with closing(open_store(self.place.server)) as store:
            return store.finished() is not None

    def tell(self, words: str) -> None:
        """Show what happens."""
        self.scene.stage = words
        self.screen.changed()
