"""Rules that installed packages bring: entry points of the group "roughfed.defences", loaded when they are named.

    [project.entry-points."roughfed.defences"]
    mine = "my_package:RULE"

`RULE` is a `roughfed.server.defence.Rule`. It runs in the server's process, with all that the server may see.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from roughfed.config.defences import GROUP
from roughfed.errors import ConfigError
from roughfed.server.defence.rule import Rule

KEY = "defence.rule"
BROKEN = (ImportError, AttributeError, SyntaxError, NameError, TypeError, ValueError)
"""What a module that is broken raises when it is imported."""


def brought(name: str) -> EntryPoint | None:
    """What an installed package brings under a name; None when none does.

    Raises:
        ConfigError: several packages bring it.
    """
    points = list(entry_points(group=GROUP, name=name))
    if len(points) > 1:
        packages = " and ".join(sorted(f"{_package(point)} ({point.value})" for point in points))
        raise ConfigError(f'"{name}" is brought by {packages}', key=KEY, cure="uninstall all of them but one")
    return points[0] if points else None


def load(point: EntryPoint) -> Rule:
    """The rule that an entry point names.

    Raises:
        ConfigError: it cannot be imported, is missing there, or is no Rule.
    """
    whose = f'"{point.name}", as {_package(point)} brings it ({point.value}),'
    try:
        found = point.load()
    except BROKEN as error:
        cause = f"{whose} cannot be loaded: {type(error).__name__}: {error}"
        raise ConfigError(cause, key=KEY, cure="mend or uninstall the package, or choose another rule") from error
    if not isinstance(found, Rule):
        raise ConfigError(
            f"{whose} is a {type(found).__name__} and no roughfed.server.defence.Rule",
            key=KEY,
            cure="let the entry point name a Rule, or choose another rule",
        )
    return found


def refuse_clash(point: EntryPoint) -> None:
    """A package must not pass for a rule of roughfed's own.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f'"{point.name}" is a rule of roughfed, and {_package(point)} brings another one of that name ({point.value})',
        key=KEY,
        cure="rename the entry point of that package, or uninstall it",
    )


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist is not None else "a package"
