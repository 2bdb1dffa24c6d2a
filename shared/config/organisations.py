"""The file in which a client's owner says which organisations sign the list of members, and how many of them must.

needed = 2

[organisations]
north = "1f0c..."    # Ed25519 public key, 64 hex digits, as `roughfed roster init-org` prints it
south = "77ab..."
east = "9d3e..."
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, cast

from roughfed.crypto.member_list import Organisations
from roughfed.crypto.names import check_name
from roughfed.errors import ConfigError, IdentityError

KEY = "policy.organisations"


def read_organisations(path: Path) -> Organisations:
    """Read the file.

    Raises:
        ConfigError: it is missing, no TOML, or says something else; with the key and what to write.
    """
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read the organisations: {why}", file=str(path), key=KEY, cure=HELP) from None
    needed, table = said.pop("needed", None), said.pop("organisations", None)
    if said or not isinstance(table, dict) or not table:
        raise _wrong(path, f"it has {', '.join(said) or 'no organisations'}")
    keys = {name: _key(path, name, value) for name, value in cast("dict[str, object]", table).items()}
    if len(set(keys.values())) < len(keys):
        raise _wrong(path, "two organisations have one key")
    if not isinstance(needed, int) or isinstance(needed, bool) or not 1 <= needed <= len(keys):
        raise _wrong(path, f"needed is {needed!r}, want 1 to {len(keys)}")
    return Organisations(keys, needed)


HELP = 'write needed = 2 and a table [organisations] with NAME = "64 hex digits"; roughfed roster init-org prints them'


def _key(path: Path, name: str, value: object) -> bytes:
    try:
        check_name(name, what="organisation")
        key = bytes.fromhex(value) if isinstance(value, str) else b""
    except (IdentityError, ValueError) as error:
        raise _wrong(path, f"organisation {name[:80]!r}: {error}") from None
    if len(key) != 32:
        raise _wrong(path, f"the key of {name} is not 64 hex digits")
    return key


def _wrong(path: Path, cause: str) -> ConfigError:
    return ConfigError(cause, file=str(path), key=KEY, cure=HELP)
