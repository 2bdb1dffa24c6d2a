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
from roughfed.server.storage.store import Store

from .process import Process, Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SCRIPT = str(Path(__file__).with_name("seeded_process.py"))
OPTIONS = SimulateOptions(clients=4, rounds=2, seed=11, settings={"trainer.lr": "0.1"})


APP = """\
import numpy as np
from sklearn.datasets import load_digits
from torch import nn
from roughfed import Client

x, y = load_digits(return_X_y=True)
held_out = np.arange(len(y)) % 5 == 0
order = np.random.default_rng(1).permutation(np.flatnonzero(~held_out))

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))

def client(index, clients):
    mine = np.split(order[index::clients], [20])
    train, test = ((x[part] / 16, y[part]) for part in mine[::-1])
    return Client(Net, train=lambda: train, test=test)

server = Client(Net, None, (x[held_out] / 16, y[held_out]))
"""


def sources(options: SimulateOptions, where: Path, index: int) -> dict[str, object]:
    """What client.toml says of the model and data of client number `index`; `where` gets the file that it names."""
    if options.app:
        file, _, name = options.app.rpartition(":")
        mine = f"from {Path(file).stem} import {name}\nmine = {name}({index}, {options.clients})\n"
        (where / "mine.py").write_text(f"import sys\nsys.path.insert(0, {str(Path(file).parent)!r})\n{mine}")
        return {"app.path": "mine.py:mine"}
    config, _ = options.federation()
    program = options.program(config)
    data = {f"data.{key}": value for key, value in (program.builtin or {})["data"].items()}
    return {**data, "model.name": config.model.name, "data.clients": options.clients, "data.index": index}


def played(folder: Path, options: SimulateOptions) -> tuple[str, list[bytes]]:
    """The same federation, every party a process of its own over mutual TLS: last digest, headers."""
    config, text = options.federation()
    place, env = folder / "server", {**os.environ, "ROUGHFED_CLIENTS_ON_HOST": str(options.clients)}
    place.mkdir(parents=True)
    (place / FederationConfig.FILE).write_text(text.replace("[server]", '[server]\nhost = "127.0.0.1"\nport = 0', 1))
    seed = str(config.federation.seed)
    with ExitStack() as stack:
        server = Server("server", [sys.executable, SCRIPT, "server", str(place), seed, ",".join(options.names())], env)
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
                "http.enabled": False,
                "policy.server_sees": options.server_sees,
                **sources(options, where, index),
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


@pytest.mark.slow
@pytest.mark.parametrize("server_sees", ["sketches", "updates"])
def test_an_own_app_gives_the_same_model_in_real_processes_and_with_any_number_of_workers(
    server_sees: str, tmp_path: Path
) -> None:
    (tmp_path / "of_many.py").write_text(APP)
    app = str(tmp_path / "of_many.py")
    whole = replace(OPTIONS, app=f"{app}:client", server_app=f"{app}:server", server_sees=server_sees)

    found = simulate(whole)

    assert [r.outcome for r in found.rounds] == ["committed"] * 2
    assert [r.accepted for r in found.rounds] == [OPTIONS.clients] * 2
    digest = found.model_digest
    assert simulate(replace(whole, workers=1, server_app="")).model_digest == digest
    assert simulate(replace(whole, workers=4)).model_digest == digest
    assert played(tmp_path / "real", whole)[0] == digest
    assert simulate(replace(whole, seed=12)).model_digest != digest
