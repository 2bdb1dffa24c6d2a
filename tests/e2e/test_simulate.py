"""A simulation is the federation that it stands for: the same model, to the bit, as one of real processes."""

import os
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.config import ClientConfig, FederationConfig
from roughfed.config.template import render_template
from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate
from roughfed.server.store import Store

from .process import Process, Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SCRIPT = str(Path(__file__).with_name("seeded_process.py"))
OPTIONS = SimulateOptions(clients=5, rounds=2, seed=11, settings={"trainer.lr": "0.1"})


def played(folder: Path, options: SimulateOptions) -> tuple[str, list[bytes]]:
    """The same federation, every party a process of its own over mutual TLS: last digest, headers."""
    config, text = options.federation()
    place, env = folder / "server", {**os.environ, "ROUGHFED_CLIENTS_ON_HOST": str(options.clients)}
    place.mkdir(parents=True)
    (place / FederationConfig.FILE).write_text(text.replace("[server]", '[server]\nhost = "127.0.0.1"\nport = 0', 1))
    seed, builtin = str(config.federation.seed), options.program(config).builtin or {}
    with ExitStack() as stack:
        server = Server("server", [sys.executable, SCRIPT, "server", str(place), seed, "server"], env)
        stack.callback(server.close)
        port = server.ready().federation
        clients: list[Process] = []
        for index, name in enumerate(options.names()):
            where = folder / name
            where.mkdir()
            given = {
                "client.name": name,
                "client.server": f"127.0.0.1:{port}",
                "client.enrol": "127.0.0.1:1",
                "model.name": config.model.name,
                "http.enabled": False,
                **{f"data.{key}": value for key, value in builtin["data"].items()},
                "data.clients": options.clients,
                "data.index": index,
            }
            (where / ClientConfig.FILE).write_text(render_template(ClientConfig, given))
            clients.append(Process(name, [sys.executable, SCRIPT, "client", str(where), seed, name], env))
            stack.callback(clients[-1].close)
        assert [process.wait(timeout_s=90) for process in (server, *clients)] == [0] * (1 + options.clients)
    with closing(Store(place / "state")) as store:
        return store.latest_model()[1].hex(), [row.header.digest for row in store.rounds()]


def test_masked_rounds_give_the_same_model_and_headers_as_real_processes(tmp_path: Path) -> None:
    found = simulate(replace(OPTIONS, out=tmp_path / "simulated"))
    with closing(Store(tmp_path / "simulated" / "server" / "state")) as store:
        headers = [row.header.digest for row in store.rounds()]

    assert [r.outcome for r in found.rounds] == ["committed"] * 2
    assert (found.model_digest, headers) == played(tmp_path / "real", OPTIONS)
