"""What runs without torch, scikit-learn and torchvision, and what says that it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roughfed.deploy.cli import app as cli
from roughfed.deploy.model_file import ABOUT, read
from roughfed.errors import ConfigError
from roughfed.extras import EXTRAS, MissingExtra, need

BLOCK = """\
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "sklearn", "scipy", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of an installation without extras."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site")}


def roughfed(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roughfed.deploy.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)


@contextmanager
def running(environment: dict[str, str], *words: str) -> Iterator[None]:
    """A server or a CA that has said where it listens; at the end it is asked to stop, and does."""
    command = [sys.executable, "-m", "roughfed.deploy.cli", *words, "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert "listening" in (json.loads(first) if first else process.communicate()[1])
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


def model_file(folder: Path) -> Path:
    """What a server without torch begins with, written where torch is."""
    assert cli.run(["init", "--dir", str(folder / "made"), "--data", "digits"]) == 0
    out = folder / "start.safetensors"
    assert cli.run(["export", "--initial", "--dir", str(folder / "made"), "--out", str(out)]) == 0
    return out


def test_the_file_says_what_the_model_is_and_nothing_of_the_data(tmp_path: Path) -> None:
    found = read(out := model_file(tmp_path))
    assert (found.task, found.num_classes, found.num_test, found.class_counts) == ("classification", 10, 0, ())
    assert found.spec.size > 0
    (tmp_path / "cut").write_bytes(out.read_bytes().replace(ABOUT.encode(), b"another_words!"))
    with pytest.raises(ConfigError, match="does not say what the model is"):
        read(tmp_path / "cut")


def test_a_bare_server_starts_and_is_asked_and_examined(tmp_path: Path, bare: dict[str, str]) -> None:
    out, place = model_file(tmp_path), tmp_path / "server"
    made = roughfed(bare, "init", "--dir", str(place), "--data", "digits")
    assert made.returncode == 0, made.stderr
    settings = (place / "fed.toml").read_text()
    refused = roughfed(bare, "server", "--dir", str(place), "--json")
    assert refused.returncode == 2
    error = json.loads(refused.stdout.splitlines()[-1])["error"]
    assert (error["reason"], error["key"]) == ("missing-extra", "train")
    assert "pip install 'roughfed[train]'" in error["cure"]
    assert "export --initial" in error["cure"]

    lines = [line for line in settings.splitlines() if not line.startswith('name = "mlp"')]
    text = (
        "\n".join(lines)
        .replace('name = "digits"', "")
        .replace("[model]", f'[model]\ninit = "{out}"')
        .replace("[server]", '[server]\nenrol_port = 0\naddress = "127.0.0.1:8443"')
    )
    (place / "fed.toml").write_text(text)
    ports = [word for key in ("--port", "--enrol-port", "--http-port") for word in (key, "0")]
    with running(bare, "server", "--dir", str(place), *ports):
        status = roughfed(bare, "status", "--dir", str(place), "--json")
        assert status.returncode == 0, status.stderr
        doctor = roughfed(bare, "doctor", "--dir", str(place), "--offline", "--json")
        assert "nothing trains here" in doctor.stdout, doctor.stderr
    with running(bare, "ca", "--dir", str(place)):
        pass


def test_help_and_refusals_of_a_bare_installation(tmp_path: Path, bare: dict[str, str]) -> None:
    assert roughfed(bare, "--help").returncode == 0
    for words in (("demo",), ("simulate", "-n", "4"), ("audit",), ("bench", "peers")):
        done = roughfed(bare, *words)
        assert (done.returncode, "torch" in done.stderr) == (2, True), done.stderr
        assert "hint: pip install 'roughfed[train]'" in done.stderr
    joined = roughfed(bare, "join", "--data", "digits", "--clients", "4", "--index", "0", "--dir", str(tmp_path / "c"))
    assert "pip install 'roughfed[train,data]'" in joined.stderr
    assert not (tmp_path / "c" / "client.toml").exists()


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roughfed.extras.is_installed", lambda _: False)
    with pytest.raises(MissingExtra) as info:
        need(*EXTRAS, who="it")
    assert info.value.cure == "pip install 'roughfed[train,data]'"
