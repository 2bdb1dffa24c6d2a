"""One federation while its processes run: start the server and the clients, watch, and see all of them end well."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from roughfed.codec.plan import plan_lanes
from roughfed.crypto.join_line import VARIABLE
from roughfed.deploy import aggregator
from roughfed.deploy.cli.processes import SHARED_HOST
from roughfed.deploy.demo.federations import Act
from roughfed.deploy.demo.folder import DemoPlace
from roughfed.deploy.demo.live_view import DemoScene
from roughfed.deploy.demo.processes import Process, ProcessDied, Processes, tail
from roughfed.deploy.demo.terminal import DemoScreen
from roughfed.deploy.summary import open_store
from roughfed.errors import RoughfedError
from roughfed.masked_round import largest_group
from roughfed.server.observe.run_summary import round_summaries
from roughfed.server.round.run import LOST_ROUNDS
from roughfed.transport import control_socket

HOST = "127.0.0.1"
MEETINGS = "rf-"
STAY = "ROUGHFED_CLIENT__STAY"
SERVER = "server"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # many processes share the cores
ROUGHFED = (sys.executable, "-m", "roughfed.deploy.cli")
ATTACK = (sys.executable, "-m", "roughfed.deploy.attack")


@dataclass(frozen=True, slots=True)
class Show:
    """An act, where its server lives, and how it is shown."""

    act: Act
    place: DemoPlace
    scene: DemoScene
    screen: DemoScreen


def play(shows: Sequence[Show], place: DemoPlace) -> None:
    """Run one federation after the other: each with a server of its own, all with the same clients.

    Args:
        shows: in order; their clients are the same.
        place: where the clients live.

    Raises:
        ProcessDied: a process ended when it should not have; the others were ended.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything was ended.
    """
    try:
        asyncio.run(_play(shows, place))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _play(shows: Sequence[Show], place: DemoPlace) -> None:
    me = asyncio.current_task()
    if me is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    known = Counter[str]()  # clients that were invited -> how often they were started
    async with Processes() as processes:
        with TemporaryDirectory(prefix=MEETINGS) as meetings:
            for number, show in enumerate(shows):
                if show.act.apart:
                    stage = DemoStage(show, show.place, {}, Counter(), Path(meetings))
                else:
                    inherited = succeed(shows[number - 1].place, show.place) if number else {}
                    stage = DemoStage(show, place, inherited, known, Path(meetings))
                with show.screen.running():
                    await stage.play(processes, until=leaving(shows, number))
            await processes.end()  # of the clients that stayed


def leaving(shows: Sequence[Show], number: int) -> set[str] | None:
    """Whose processes end with an act; None: all of them."""
    if len(shows) == 1 or shows[number].act.apart:
        return None
    after = shows[min(number + 1, len(shows) - 1)]  # who starts with the next act, or with the last one, does not stay
    return {SERVER, *after.act.starts}


def succeed(before: DemoPlace, after: DemoPlace) -> dict[str, str]:
    """Give a server the CA and the papers of the one before it; to the clients it is the same one.

    Returns:
        environment that gives it the same ports, too.
    """
    old, new = aggregator.ServerFiles(before.server), aggregator.ServerFiles(after.server)
    for source, target in ((old.ca, new.ca), (old.papers, new.papers)):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    ports = aggregator.known_ports(before.server)
    return {"ROUGHFED_SERVER__PORT": str(ports.federation), "ROUGHFED_SERVER__ENROL_PORT": str(ports.enrolment)}


def warm(scene: DemoScene) -> None:
    """Compile the codec's kernels, or find them compiled: else every client would, all at once."""
    if scene.server_sees == "updates":
        return
    from roughfed.codec import chain

    chain.warm(plan_lanes(largest_group(len(scene.held))))


@dataclass
class DemoStage:
    """The processes of an act."""

    show: Show
    clients: DemoPlace
    inherited: dict[str, str]
    known: Counter[str]
    """Clients that were invited before -> how often they were started; changed."""
    meetings: Path
    """Where colluders meet; a short path, as the address of a socket must be."""

    async def play(self, processes: Processes, *, until: Collection[str] | None) -> None:
        """Start the server, and the clients that are not there yet; return when the run is over and all ended well.

        Args:
            processes: everybody's.
            until: whose processes end with this act; None: all of them.
        """
        self.tell("starting the server, its worker loads torch")
        await asyncio.gather(self.start_server(processes), asyncio.to_thread(warm, self.show.scene))
        self.show.scene.page = f"http://{HOST}:{aggregator.known_ports(self.show.place.server).http}/"
        watching = asyncio.create_task(self.watch())
        try:
            if starts := self.show.act.starts:
                who = "attacker" if set(starts) == set(self.show.act.hostile) else "client"
                self.tell(f"starting {len(starts)} {who}{'s'[: len(starts) > 1]}, their trainers load torch")
                await self.start_clients(processes)
            self.tell(f"in a browser: {self.show.scene.page}")
            ended = asyncio.create_task(processes.all_ended(self.is_over, until=until))
            try:
                await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()  # the run is over, or stands still
                await ended
            finally:
                ended.cancel()
            await watching
        finally:
            watching.cancel()

    async def start_server(self, processes: Processes) -> Process:
        """Start it; returns when its ports are open.

        Raises:
            ProcessDied: it did not get so far.
        """
        ready = asyncio.Event()
        noted = aggregator.ServerFiles(self.show.place.server).ports

        def look() -> None:
            if noted.exists():
                ready.set()

        command = [*ROUGHFED, "server", "--dir", str(self.show.place.server)]
        server = await self.start(processes, SERVER, command, more=self.inherited, on_output=look)
        listening = asyncio.create_task(ready.wait())
        await asyncio.wait({listening, server.ending}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            raise ProcessDied(server.name, server.ending.result(), server.log)
        return server

    async def start_clients(self, processes: Processes) -> None:
        """Start those whose act begins; who is new is invited."""
        act, server = self.show.act, self.show.place.server
        port = aggregator.known_ports(server).enrolment
        for name in act.starts:
            invitation: dict[str, str] = {}
            if name not in self.known:
                line = await asyncio.to_thread(aggregator.invite, server, name, host=HOST, port=port)
                invitation = {VARIABLE: line.reveal()}
            self.known[name] += 1
            if self.known[name] > 1:  # who comes again is in one run more
                invitation[STAY] = str(self.known[name])
            command = [*self.command_of(name), "--dir", str(self.clients.client(name))]
            await self.start(processes, name, command, more=invitation)

    def command_of(self, name: str) -> list[str]:
        """How a client is started, but for its directory."""
        act = self.show.act
        if act.attackers is None or name not in act.attackers.names:
            return [*ROUGHFED, "join"]
        place = ["--colluders", str(self.meetings / act.name)] if act.attackers.meet else []
        return [*ATTACK, *act.attackers.flags_of(name), *place]

    async def start(
        self,
        processes: Processes,
        name: str,
        command: list[str],
        *,
        more: dict[str, str] | None = None,
        on_output: Callable[[], None] | None = None,
    ) -> Process:
        """Start one process of the demo."""
        env = ONE_THREAD | {SHARED_HOST: str(len(self.show.act.clients) + 1)} | (more or {})
        log = (self.show.place if name == SERVER else self.clients).log(name)
        return await processes.start(name, command, log=log, env=env, on_output=on_output)

    async def watch(self) -> None:
        """Follow the run until the server is over.

        Raises:
            RoughfedError: it is paused, and here is nobody who would resume it.
        """
        with closing(open_store(self.show.place.server)) as store:
            async for status in statuses(self.show.place.server):
                self.show.scene.status = status
                self.show.scene.rounds = rounds = round_summaries(store)
                lost = [each.outcome != "committed" for each in rounds[-LOST_ROUNDS:]]
                if status.get("paused") and len(lost) == LOST_ROUNDS and all(lost):  # by itself, not by a person
                    log = self.show.place.log(SERVER)
                    raise RoughfedError(f"the run is paused: rounds came to nothing; the end of {log}:\n{tail(log)}")
                self.show.screen.changed()
            self.show.scene.over = True
            self.show.scene.rounds = round_summaries(store)
            self.tell("the run is over")

    def is_over(self) -> bool:
        """Whether the journal says so."""
        with closing(open_store(self.show.place.server)) as store:
            return store.finished() is not None

    def tell(self, words: str) -> None:
        """Show what happens."""
        self.show.scene.stage = words
        self.show.screen.changed()


async def statuses(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Each status of the server on a directory, until it goes away: whoever waits for its process hears why."""
    states = control_socket.watch(folder)
    with suppress(control_socket.NotRunning):
        while (status := await asyncio.to_thread(next, states, None)) is not None:
            yield status
