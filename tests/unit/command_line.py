"""The command line in this process, built once: each build makes every command with its flags anew."""

from typing import Any

import pytest
import typer.main

from roughfed.deploy.cli import app as cli

PROGRAM: Any = typer.main.get_command(cli.build())


def build_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `cli.run` use what was built already."""
    monkeypatch.setattr(cli, "build", lambda: None)
    monkeypatch.setattr(typer.main, "get_command", lambda _: PROGRAM)
