"""The demo, top to bottom: settings and CA, server, clients, watching, report."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from rich.console import Console

from roughfed.codec.plan import plan_lanes
from roughfed.crypto.join_line import VARIABLE
from roughfed.data.federate import Options, holdings
from roughfed.deploy import aggregator
from roughfed.deploy.cli.processes import SHARED_HOST
from roughfed.deploy.demo.options import DemoOptions, preset_of, settings_files
from roughfed.deploy.demo.outcome import DemoResult, final_table, last_words, result_of, write_report
from roughfed.deploy.demo.place import DemoPlace, furnish, make_place
from roughfed.deploy.demo.processes import Process, ProcessDied, Processes
from roughfed.deploy.demo.scene import Scene
from roughfed.deploy.demo.screen import Screen, screen_for
from roughfed.deploy.demo.watch import statuses
from roughfed.deploy.summary import open_store, round_summaries, run_summary
from roughfed.masking import largest_group

HOST = "127.0.0.1"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # many processes share the cores
ROUGHFED = (sys.executable, "-m", "roughfed.deploy.cli")


def run_demo(options: DemoOptions) -> DemoResult:
    """Run a whole federation on this machine and show it. People's words go to stderr with `options.json`.

    Args:
        options: the flags.

    Returns:
        its figures; the caller prints them where `--json` is asked for.

    Raises:
        NotBuiltYet: a scenario of a later version; nothing was started.
        ConfigError: an option that cannot be; nothing was started.
        ProcessDied: a process ended when it should not have; the others were ended.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything was ended.
    """
    began = time.monotonic()
    fed, clients = settings_files(options)
    given: Options = {"partition": "dirichlet", "alpha": options.alpha, "data_dir": options.data_dir}
    held = holdings(options.data, clients=options.clients, seed=options.seed, **given)
    place = make_place(options.out)
    furnish(place, fed, clients)
    console = Console(stderr=options.json, highlight=False)
    scene = Scene(
        title=f"{options.clients} clients, {options.data} dealt out by Dirichlet({options.alpha:g})",
        server_sees=options.server_sees,
        folder=str(place.folder),
        held=dict(zip(options.names, held.sum(axis=1).tolist(), strict=True)),
        rounds_wanted=options.rounds or preset_of(options).rounds,
        began=began,
    )
    stage = Stage(options, place, scene, screen_for(scene, console))
    with stage.screen.running():
        try:
            asyncio.run(stage.play())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    run = run_summary(place.server)
    run = replace(
        run,
        config=run.config | {"demo": {"clients": options.clients, "data": options.data, **given}},
        scenario=options.scenario,
        holdings=held.tolist(),
        client_names=options.names,
        seconds_total=time.monotonic() - began,
    )
    write_report(run, place)
    result = result_of(run, place)
    console.print()
    console.print(final_table(result))
    console.print()
    for line in last_words(result, options):
        console.print(line, markup=False, soft_wrap=True)  # a path stays whole, for copying
    return result


def warm(options: DemoOptions) -> None:
    """Compile the codec's kernels, or find them compiled: else every client would, all at once."""
    if options.server_sees == "updates":
        return
    from roughfed.codec import chain

    chain.warm(plan_lanes(largest_group(options.clients)))


@dataclass
class Stage:
    """One demo while its processes run."""

    options: DemoOptions
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
            await asyncio.gather(self.start_server(processes), asyncio.to_thread(warm, self.options))
            self.tell(f"starting {self.options.clients} clients, their trainers load torch")
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

        server = await self.start(processes, "server", ["server", "--dir", str(self.place.server)], on_output=look)
        listening = asyncio.create_task(ready.wait())
        await asyncio.wait({listening, server.ending}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            raise ProcessDied(server.name, server.ending.result(), server.log)
        return server

    async def start_clients(self, processes: Processes) -> None:
        """Invite and start all of them."""
        port = aggregator.known_ports(self.place.server).enrolment
        for name in self.options.names:
            line = await asyncio.to_thread(aggregator.invite, self.place.server, name, host=HOST, port=port)
            arguments = ["join", "--dir", str(self.place.client(name))]
            await self.start(processes, name, arguments, secrets={VARIABLE: line.reveal()})

    async def start(
        self,
        processes: Processes,
        name: str,
        arguments: list[str],
        *,
        secrets: dict[str, str] | None = None,
        on_output: Callable[[], None] | None = None,
    ) -> Process:
        """Start one process of the demo."""
        env = ONE_THREAD | {SHARED_HOST: str(self.options.clients + 1)} | (secrets or {})
        return await processes.start(
            name, [*ROUGHFED, *arguments], log=self.place.log(name), env=env, on_output=on_output
        )

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
