"""`roughfed join --accept MODE`: the owner's word on how much the server may see."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed.deploy.cli.command import CommandContext
from roughfed.errors import ConfigError
from roughfed.mode import MODES, UPDATES_SHOWN

if TYPE_CHECKING:
    from roughfed.deploy.cli.join import JoinFlags

OF_THE_LINE = ("line", "token_file", "accept")
"""Fields of the flags that say how a join line is given, and the word itself."""


def check_accept(mode: str) -> None:
    """Refuse what is no mode.

    Raises:
        ConfigError: it is none.
    """
    if mode not in ("", *MODES):
        raise ConfigError(f"{mode!r} is no mode", key="--accept", cure=f"one of: {', '.join(MODES)}")


def tell(context: CommandContext, mode: str) -> None:
    """Say what the owner has just agreed to."""
    if mode == MODES[-1]:
        context.warn(UPDATES_SHOWN)
    elif mode:
        context.say(f'the server may see "{mode}" at most, whatever it asks for')


def write_accepted(folder: Path, mode: str) -> None:
    """The owner's word in the client.toml that is there; where there is none yet, it is written with it.

    Raises:
        ConfigError: client.toml cannot be changed.
    """
    from roughfed.config import ClientConfig
    from roughfed.config.rewriting import write_setting

    if mode and (path := folder / ClientConfig.FILE).exists():
        write_setting(path, "policy.server_sees", mode)


def as_typed(flags: JoinFlags, folder: Path, mode: str) -> str:
    """The command of this call with `--accept`, to be typed after the join line, if there was one."""
    words = ["roughfed", "join", "--accept", mode]
    if folder != Path():
        words += ["--dir", str(folder)]
    for field in fields(flags):
        value = getattr(flags, field.name)  # 0 is one, though it equals False
        if field.name not in OF_THE_LINE and value != "" and value is not None and value is not False:
            words += [f"--{field.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)
