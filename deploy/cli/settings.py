"""`-o KEY=VALUE`: any setting of the file, on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.errors import ConfigError


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE texts by dotted key; the last of equals wins, as in a shell.

    Raises:
        ConfigError: one of them is no KEY=VALUE.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise ConfigError(f"{text!r} is not KEY=VALUE", key="--set", cure="for example --set round.deadline=5m")
        found[key.strip()] = value.strip()
    return found
