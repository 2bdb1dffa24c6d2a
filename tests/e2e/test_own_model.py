"""A model and data of one's own through a whole federation: `python own_model.py` is all that a data owner starts."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.server.storage.store import Store
from roughfed.types import Evaluation

from .walk import Walk, lines_until, walking

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "own_model.py"
ROUNDS = 2
NAMES = ("alpha", "beta")

REGRESSION = """\
import numpy as np
from torch import nn
from roughfed import Client

rng = np.random.default_rng(0)
x = rng.normal(size=(400, 3)).astype("float32")
y = (x @ [1.0, -2.0, 0.5] + 3.0).astype("float32")
client = Client(lambda: nn.Linear(3, 1), (x[:300], y[:300]), (x[300:], y[300:]), task="regression")
client.run()
"""


@pytest.fixture
def walk() -> Iterator[Walk]:
    with walking() as walk:
        yield walk


def federate(walk: Walk, *names: str, settings: str = "") -> dict[int, dict[str, Evaluation]]:
    """own_model.py of every folder in one federation; the evaluations of each version by source."""
    ports = " ".join(f"-o server.{port}=0" for port in ("port", "enrol_port", "http_port"))
    walk.run(
        "roughfed init --app own_model.py:client -o privacy.server_sees=updates "
        f"-o server.host=127.0.0.1 -o round.min_clients={len(names)} {ports} {settings}"
    )
    server = walk.start(f"roughfed server --rounds {ROUNDS}")
    lines_until(server, "listening metrics", walk)
    clients = []
    for name in names:
        (walk.folder / name).mkdir()
        shutil.copy(walk.folder / "own_model.py", walk.folder / name)
        join = walk.run(f"roughfed invite {name}").stdout.split()[0]
        clients.append(walk.start(f"{join} ROUGHFED_POLICY__SERVER_SEES=updates python own_model.py", at=name))
    assert lines_until(server, "the server ended", walk)[-1] == "the server ended: rounds\n"
    assert server.wait(timeout=30) == 0
    for client in clients:
        assert lines_until(client, "the client ended", walk)[-1] == "the client ended: finished\n"
        assert client.wait(timeout=30) == 0
    assert "Traceback" not in walk.logs()
    with closing(Store(walk.folder / "state")) as store:
        assert [row.sets for row in store.rounds()] == [dict.fromkeys(names, "")] * ROUNDS
        return {version: store.evaluations(version) for version, _ in store.versions()}


@pytest.mark.timeout(120)
def test_an_own_model_learns_in_a_federation(walk: Walk) -> None:
    shutil.copy(EXAMPLE, walk.folder)
    found = federate(walk, *NAMES, settings="-o trainer.epochs=3 -o trainer.lr=0.05")
    assert {version: set(parts) for version, parts in found.items()} == {
        0: set(NAMES),
        1: {"", *NAMES},
        2: {"", *NAMES},
    }
    before, after = (found[version]["alpha"].accuracy or 0.0 for version in (0, ROUNDS))
    assert after > max(0.85, before)
    assert found[ROUNDS][""].accuracy == found[ROUNDS]["beta"].accuracy  # all hold the same test data here
    status = walk.json("roughfed status", code=6)
    assert (status["model_version"], status["accuracy"]) == (ROUNDS, found[ROUNDS][""].accuracy)


@pytest.mark.timeout(120)
def test_a_regression_is_judged_by_its_loss(walk: Walk) -> None:
    (walk.folder / "own_model.py").write_text(REGRESSION)
    settings = "-o federation.task=regression -o trainer.epochs=8 -o trainer.lr=0.05"
    found = federate(walk, "alpha", settings=settings)
    losses = [found[version]["alpha"].loss or 0.0 for version in range(ROUNDS + 1)]
    assert losses == sorted(losses, reverse=True)
    last = found[ROUNDS][""]
    assert (last.loss or 1.0) < 0.1
    assert (last.num_examples, last.accuracy, last.class_count) == (100, None, ())
    assert 0.0 < last.absolute_error_sum / 100 < 0.3
    assert walk.json("roughfed status", code=6)["accuracy"] is None
    assert walk.json("roughfed export --version best --out best.safetensors")["version"] == ROUNDS
    assert walk.json("roughfed report")["rounds"] == ROUNDS
