"""What the tests of the deployment files share: the files, the tools, and what the program itself says about them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import typer.main

from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig
from roughfed.config.schema import keys_of
from roughfed.config.sources import Setting, from_env
from roughfed.deploy.cli.app import build

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROGRAM = typer.main.get_command(build())
UID = 10001
"""The account in the images, which volumes and settings of compose and Kubernetes count on."""


def tool(name: str) -> str:
    """The path of a program, of this environment or the system; without it the test is skipped."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (make setup, make tools)")
    return found


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A program that may fail."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def parses(words: Sequence[str]) -> str:
    """Take a command line (without `roughfed`) apart as the program would; returns the command's name."""
    name, *rest = words
    found = getattr(PROGRAM, "commands", {})[name]
    found.make_context("roughfed", rest)  # refuses unknown flags and values of a wrong type
    return name


def settings(env: Mapping[str, str]) -> dict[str, Setting]:
    """The settings that variables name, each known to fed.toml or client.toml; values are not checked."""
    ours = {name: text for name, text in env.items() if name.startswith("ROUGHFED_") and "__" in name}
    server, client = keys_of(FederationConfig), keys_of(ClientConfig)
    found = from_env(ours, server, client) | from_env(ours, client, server)
    assert len(found) == len(ours)
    assert set(found) <= set(server) | set(client), found
    return found
