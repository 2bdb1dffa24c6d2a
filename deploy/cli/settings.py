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


def numbers(text: str, *, key: str) -> tuple[int, ...]:
    """Whole numbers with commas between them.

    Args:
        text: "50,100,200", for example.
        key: the flag, for the error.

    Raises:
        ConfigError: one of them is none.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{text!r} is no list of whole numbers", key=key, cure="for example 50,100,200") from None
