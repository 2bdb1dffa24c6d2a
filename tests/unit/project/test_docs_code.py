"""The Python of the documents, run as the trainer runs it: the file is imported, its client has a model and data."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from roughfed.client.trainer.load import load_app, load_maker
from roughfed.data.watched import WatchedFolder
from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate
from tests.unit.documents import Block, blocks

DATA = """\
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 30)).astype(np.float32)
y = (x.sum(axis=1) > 0).astype(np.int64)
train, test = (x[:40], y[:40]), (x[40:], y[40:])
"""
NEEDED = """\
from my_data import test
from torch import nn

x_test, y_test = test


def Net():
    return nn.Linear(30, 10)


"""
"""What the page on data takes for granted."""


def block_of(document: str, word: str) -> Block:
    """The one Python block of a document that holds a word."""
    (found,) = [b for b in blocks("python") if b.document.name == document and word in b.text]
    return found


@pytest.fixture(autouse=True)
def neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_data.py").write_text(DATA)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_data", raising=False)


def test_the_own_model_of_the_readme_is_a_client(tmp_path: Path) -> None:
    code = block_of("README.md", "class Net").text
    assert len([line for line in code.splitlines() if line.strip()]) <= 15, "the README promises 15 lines"
    (tmp_path / "my_client.py").write_text(code)

    client = load_app(f"{tmp_path / 'my_client.py'}:client")

    x, y = client.train
    assert client.model()(torch.from_numpy(np.asarray(x))).shape == (len(y), 2)


@pytest.mark.timeout(120)
def test_the_app_of_the_page_on_simulation_is_played(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(block_of("simulate.md", "def client(index, clients)").text)
    app = str(tmp_path / "my.py")

    found = simulate(SimulateOptions(4, rounds=1, app=f"{app}:client", server_app=f"{app}:server", workers=1))

    assert (found.ended, found.accuracy_of) == ("rounds", 1)
    site = load_maker(f"{app}:client")(0, 1)
    assert len(site.train[1]) == 40


def test_a_watched_folder_feeds_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "incoming").mkdir()
    np.savez(tmp_path / "incoming" / "monday.npz", x=np.ones((5, 30), np.float32), y=np.arange(5))
    (tmp_path / "my_client.py").write_text(NEEDED + block_of("data.md", "WatchedFolder").text)

    client = load_app(f"{tmp_path / 'my_client.py'}:client")

    assert isinstance(client.train, WatchedFolder)
    assert len(client.train.at(1)) == 5
