"""One process to a directory."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from roughfed.client.local.trainer_process import LocalTrainer
from roughfed.client.runner import run
from roughfed.client.setup import Setup
from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig, RoundSettings
from roughfed.deploy.aggregator import ServerFiles, run_server
from roughfed.deploy.synthetic import SyntheticOrigin
from roughfed.errors import ConfigError, StorageError
from roughfed.lock import LOCK, only_one, wait_until_free
from roughfed.trainer_client import Description

HOLD = """
import pathlib, signal, sys
from roughfed.lock import only_one
with only_one(pathlib.Path(sys.argv[1]), "client", cure="-"):
    print("held", flush=True)
    signal.pause()
"""


def test_a_second_one_is_told_who_is_there(tmp_path: Path) -> None:
    with (
        only_one(tmp_path, "client", cure="-"),
        pytest.raises(ConfigError, match="a client runs on this directory already") as refused,
        only_one(tmp_path, "server", cure="stop it"),
    ):
        pytest.fail("two at once")
    assert f"process {os.getpid()}" in refused.value.cause
    assert (refused.value.file, refused.value.cure) == (str(tmp_path), "stop it")
    with only_one(tmp_path, "server", cure="-"):  # the refused one has left the holder's lock alone, and it is free now
        assert (tmp_path / LOCK).read_text() == f"server {os.getpid()}"


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout as said:
        assert said.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid}"), only_one(tmp_path, "client", cure="-"):
            pytest.fail("two at once")
        holder.send_signal(signal.SIGKILL)
        wait_until_free(tmp_path)
        with only_one(tmp_path, "client", cure="-"):
            pass
    holder.wait()


def test_nobody_waits_for_a_directory_that_was_never_used(tmp_path: Path) -> None:
    wait_until_free(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot lock"), only_one(tmp_path / "file", "client", cure="-"):
        pytest.fail("locked a file")


class Untouched:
    """A trainer, or a model's origin, that must not be asked anything."""

    on_progress = None

    async def describe(self) -> Description:
        pytest.fail("asked before the directory was ours")


def test_a_second_client_touches_nothing(tmp_path: Path) -> None:
    setup = Setup(ClientConfig(), tmp_path, tmp_path / "papers", cast(LocalTrainer, Untouched()))
    with only_one(tmp_path, "client", cure="-"), pytest.raises(ConfigError, match="a client runs on this directory"):
        asyncio.run(run(setup))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_second_server_touches_nothing(tmp_path: Path) -> None:
    state = ServerFiles(tmp_path).state
    with only_one(state, "server", cure="-"), pytest.raises(ConfigError, match="a server runs on this directory"):
        run_server(tmp_path, FederationConfig(round=RoundSettings()), SyntheticOrigin(4))
    assert [path.name for path in state.iterdir()] == [LOCK]
