"""What not every host needs: packages behind extras, and the sentence that names the one that is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from roughfed.errors import ConfigError

EXTRAS: Mapping[str, tuple[str, str]] = {
    "torch": ("train", "trains or evaluates models"),
    "sklearn": ("data", "has the digits data"),
}
"""Module -> (the extra of roughfed that brings it, what it is for)."""


class MissingExtra(ConfigError):
    """A package is not installed that only some hosts need. Says which extra brings it."""

    reason = "missing-extra"


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def need(*modules: str, who: str, otherwise: str = "") -> None:
    """Refuse to begin without these modules.

    Args:
        modules: rows of EXTRAS.
        who: what needs them, for example "roughfed demo".
        otherwise: what could be done instead.

    Raises:
        MissingExtra: names all that are missing, and the line that installs them.
    """
    missing = [module for module in modules if not is_installed(module)]
    if not missing:
        return
    extras = ",".join(dict.fromkeys(EXTRAS[module][0] for module in missing))
    uses = ", and ".join(f"{module}, which {EXTRAS[module][1]}" for module in missing)
    install = f"pip install 'roughfed[{extras}]'"
    raise MissingExtra(
        f"{who} needs {uses}: not installed here", key=extras, cure=f"{install}, {otherwise}" if otherwise else install
    )
