"""The commented settings files that `roughfed init` and `roughfed join` write."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from roughfed.config.load import build
from roughfed.config.schema import Key, keys_of, named_tables_of, tables_of
from roughfed.config.sources import Setting
from roughfed.config.values import Document, Origin
from roughfed.errors import ConfigError

_NOTHING: Mapping[str, object] = MappingProxyType({})


def write_template(directory: Path, model: type[Document], *, values: Mapping[str, object] = _NOTHING) -> Path:
    """Write a commented settings file with every key in it.

    Args:
        directory: an existing folder; the file gets its usual name.
        model: FederationConfig or ClientConfig.
        values: settings by dotted key that are written out; all other keys are comments that show their defaults.

    Returns:
        the path of the file.

    Raises:
        SettingsRefused: a value is wrong, so the file would not load again.
        ConfigError: the file exists, or cannot be written.
    """
    path = directory / model.FILE
    text = render_template(model, values)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        cure = "Edit it, or remove it first."
        raise ConfigError("The file exists and is not overwritten.", file=str(path), cure=cure) from None
    except OSError as error:
        cause = f"The file cannot be written ({error.strerror})."
        raise ConfigError(cause, file=str(path), cure="Name a folder that this user may write to.") from None
    return path


def render_template(model: type[Document], values: Mapping[str, object] = _NOTHING) -> str:
    """The text of such a file.

    Raises:
        SettingsRefused: a value is wrong.
    """
    build(model, {key: Setting(value, Origin("flag", f"--{key}")) for key, value in values.items()})
    return "\n".join(_lines(model, values)) + "\n"


def _lines(model: type[Document], values: Mapping[str, object]) -> Iterator[str]:
    yield f"# {model.ABOUT}. Comments show the defaults; remove a # to change one."
    yield '# Durations are "90s", "10m", "2h" or seconds. `roughfed plan` checks the whole.'
    keys = list(keys_of(model).values())
    for table, sub in tables_of(model).items():
        yield ""
        yield f"[{table}]"
        yield f"# {(sub.__doc__ or '').strip()}"
        for key in keys:
            if key.table == table:
                yield from _entry(key, values)
    for table, sub in named_tables_of(model).items():
        yield ""
        yield f"# [{table}.NAME]"
        yield f"# {(sub.__doc__ or '').strip()}"
        for name, field in sub.model_fields.items():
            yield from _entry(Key(table, name, field), {})


def _entry(key: Key, values: Mapping[str, object]) -> Iterator[str]:
    yield ""
    yield from textwrap.wrap(f"{key.meaning} ({key.noun})", 118, initial_indent="# ", subsequent_indent="# ")
    if key.dotted in values:
        yield f"{key.name} = {key.spell(values[key.dotted])}"
    else:
        yield f"# {key.name} = {key.default}"
