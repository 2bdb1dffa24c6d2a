"""client/api.py: arguments, the own loop, and what run() turns into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from roughfed.client.api import Client, Round, importing_app
from roughfed.errors import ConfigError

PAIR = (np.zeros((4, 2)), np.zeros(4, dtype=np.int64))


def model() -> None:
    raise AssertionError("nothing is built before it is needed")


def test_importing_the_api_imports_no_torch_and_no_grpc() -> None:
    code = "import sys; from roughfed import Client; print(sorted({'torch', 'grpc', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_records_and_calls_nothing() -> None:
    client = Client(model=model, train=lambda: 1 / 0, test=PAIR, trainer="mse", task="regression", epochs=3, lr=0.1)
    assert client.settings == {"epochs": 3, "lr": 0.1}
    assert (client.trainer, client.task, client.name) == ("mse", "regression", None)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"model": "resnet18", "train": PAIR}, "model"),
        ({"model": model, "train": "data.csv"}, "train"),
        ({"model": model, "train": np.zeros((4, 2))}, "train"),
        ({"model": model, "train": [1, 2, 3]}, "train"),
        ({"model": model, "train": PAIR, "test": 7}, "test"),
        ({"model": model, "train": None}, "train"),
        ({"model": model, "train": PAIR, "task": "segmentation"}, "task"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(**arguments)  # type: ignore[arg-type]
    assert caught.value.key == key


def test_a_stream_is_data_to_train_on_and_none_to_hold_out() -> None:
    class Mine:
        def at(self, round: int) -> object:
            return PAIR

    class Table:
        """An array or a table: its `at` is an indexer."""

        shape = (4, 2)

        def at(self, axis: int) -> object:
            return self

    mine = Mine()
    assert Client(model, mine).train is mine
    with pytest.raises(ConfigError, match="is a stream"):
        Client(model, PAIR, mine)
    with pytest.raises(ConfigError, match="is not data"):
        Client(model, Table())


def test_one_own_loop_and_no_second() -> None:
    client = Client(model, PAIR)

    @client.fit
    def mine(net: object, loader: object, round: Round) -> None:
        return None

    assert client.loop is mine
    with pytest.raises(ConfigError, match="two"):
        client.fit(mine)


def test_run_becomes_join(tmp_path: Path) -> None:
    """A stand-in interpreter for the exec prints what it was asked to run."""
    script = tmp_path / "my.py"
    script.write_text(
        "import os, sys\n"
        "from roughfed import Client\n"
        "os.execv = lambda program, command: print(program == command[0] == sys.executable, *command[1:])\n"
        "mine = Client(model=dict, train=list)\n"
        "print('before')\n"
        "mine.run(dir='here')\n"
    )
    done = subprocess.run([sys.executable, "my.py"], capture_output=True, text=True, check=True, cwd=tmp_path)
    want = f"True -m roughfed.deploy.cli join --app {script}:mine --dir here"
    assert done.stdout.splitlines() == ["before", want]


@pytest.mark.parametrize(
    ("code", "say"),
    [
        ("from roughfed import Client; Client(model=dict, train=list).run()", "interactive session"),
        (None, "no name at the top level"),
    ],
)
def test_run_says_why_it_cannot(tmp_path: Path, code: str | None, say: str) -> None:
    script = tmp_path / "my.py"
    script.write_text("from roughfed import Client\nClient(model=dict, train=list).run()\n")
    argv = [sys.executable, "-c", code] if code else [sys.executable, str(script)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert say in done.stderr


def test_run_returns_at_once_while_the_trainer_imports_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(os, "execv", lambda *argv: calls.append(argv))
    with importing_app():
        Client(model, PAIR).run()
    assert calls == []
