"""One client from its start to its end: what it opens, who stops it, and why it ended."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from roughfed.client.app import Agent
from roughfed.client.members import credential_files
from roughfed.client.rules.checks import check_name, used_up
from roughfed.client.setup import Setup
from roughfed.client.storage.store import ClientStore
from roughfed.config.client import Http
from roughfed.errors import ConfigError
from roughfed.httpd import HttpServer, Request, Response, health
from roughfed.lock import only_one
from roughfed.telemetry import CONTENT_TYPE
from roughfed.transport.control_socket import Operations, control_socket

log = logging.getLogger(__name__)


async def run(setup: Setup, *, stopped: asyncio.Event | None = None) -> str:
    """Take part until the run is over, the client's own limit is reached, or a signal comes.

    Args:
        setup: what deploy/ hands over.
        stopped: stands for the signals, in a process that takes them itself.

    Returns:
        why it ended: "finished", "max-rounds" or "stopped".

    Raises:
        RoughfedError: the server, or this client's own rules, refuse for good.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(setup.folder, "client", cure="stop that client, or give this one its own --dir"))
        check_name(setup.config, credential_files.load(setup.credentials_folder))
        store = ClientStore(setup.folder)
        stack.callback(store.close)
        limit = setup.config.policy.max_rounds
        if used_up(store, limit) and not store.owes_update():
            log.info("this client has taken part in %d rounds, as many as policy.max_rounds allows", limit)
            return "max-rounds"
        stack.push_async_callback(setup.trainer.stop)
        description = await setup.trainer.describe()
        agent = Agent(setup, store, description)
        setup.trainer.on_progress = agent.progress
        stack.push_async_callback(agent.close)
        if setup.config.http.enabled:
            stack.callback(serve_http(setup.config.http, agent).stop)
        if stopped is None:
            stopped = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await answer_operator(setup.folder, {"rotate": lambda _: agent.renewal.rotate()}, stack)
        tasks = [asyncio.create_task(each) for each in (agent.run(), agent.renewal.run(), until(stopped))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(task for task in tasks if task.done())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return first.result()


async def answer_operator(folder: Path, operations: Operations, stack: AsyncExitStack) -> None:
    """Have a control socket; where there can be none, the client runs without."""
    try:
        await stack.enter_async_context(control_socket(folder, operations))
    except ConfigError as error:
        log.info("no control socket for this client's operator: %s", error)


async def until(stopped: asyncio.Event) -> str:
    """Why a client ends that a signal stops."""
    await stopped.wait()
    return "stopped"


def serve_http(settings: Http, agent: Agent) -> HttpServer:
    """Serve `/metrics` and `/healthz` of an agent until they are stopped."""

    def metrics(_: Request) -> Response:
        return Response(agent.metrics.render(), CONTENT_TYPE)

    def healthz(_: Request) -> Response:
        connected, phase = agent.health()
        return health({"running": True}, connected=connected, phase=phase, **agent.mode.facts())

    routes = {"/metrics": metrics, "/healthz": healthz}
    server = HttpServer(settings.host, settings.port, routes, key="http.port")
    log.info("metrics on http://%s:%d/metrics", settings.host, server.port)
    return server
