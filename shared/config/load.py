"""Read settings: the file, then environment variables, then flags; everything that is wrong is reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import ValidationError

from roughfed.config.client import ClientConfig
from roughfed.config.dropped import DROPPED
from roughfed.config.federation import FederationConfig
from roughfed.config.planned import planned_key
from roughfed.config.problems import Problem, cure_for, refusal, translate
from roughfed.config.schema import Key, keys_of, named_tables_of, tables_of
from roughfed.config.sources import Setting, from_env, from_file, from_flags
from roughfed.config.tiers import tier_problems
from roughfed.config.values import Document, show
from roughfed.registry import nearest

D = TypeVar("D", bound=Document)
NOTHING: Mapping[str, str] = MappingProxyType({})


def load_federation(
    directory: Path, env: Mapping[str, str], *, overrides: Mapping[str, str] = NOTHING
) -> FederationConfig:
    """Read `fed.toml` of a folder.

    Args:
        directory: the folder.
        env: the environment, for example `os.environ`.
        overrides: flags, as text by dotted key (`{"round.rounds": "3"}`); they beat the environment and the file.

    Returns:
        the settings, each checked by itself. `check_federation` checks them together.

    Raises:
        ConfigError: the file is missing or no TOML.
        SettingsRefused: keys or values are wrong; `problems` lists them all.
        SettingsNotBuilt: all that is wrong is planned for a later version.
    """
    return _load(FederationConfig, directory, env, overrides=overrides, other=ClientConfig)


def load_client(directory: Path, env: Mapping[str, str], *, overrides: Mapping[str, str] = NOTHING) -> ClientConfig:
    """Read `client.toml` of a folder; as `load_federation`, with `check_client` for the rest."""
    return _load(ClientConfig, directory, env, overrides=overrides, other=FederationConfig)


def _load(
    model: type[D], directory: Path, env: Mapping[str, str], *, overrides: Mapping[str, str], other: type[Document]
) -> D:
    keys = keys_of(model)
    tables = tables_of(model) | named_tables_of(model)
    settings = from_file(directory / model.FILE, tables, made_by=model.MADE_BY)
    settings |= from_env(env, keys, keys_of(other))
    settings |= from_flags(overrides, keys)
    return build(model, settings)


def build(model: type[D], settings: Mapping[str, Setting]) -> D:
    """Make the settings object out of single settings.

    Raises:
        SettingsRefused: some are wrong; all of them are listed.
    """
    keys = keys_of(model)
    several = {dotted: s for dotted, s in settings.items() if is_named_table(model, dotted)}
    known = {dotted: s for dotted, s in settings.items() if dotted in keys} | several
    sees = settings["privacy.server_sees"].value if "privacy.server_sees" in settings else _default_mode(keys)
    problems = [_unknown(dotted, s, model, server_sees=sees) for dotted, s in settings.items() if dotted not in known]
    problems += [problem for dotted, s in several.items() for problem in tier_problems(dotted, s)]
    problems += [
        Problem(s.origin, dotted, "The number is too long.", cure_for(s.value, keys[dotted]))
        for dotted, s in known.items()
        if isinstance(s.value, int) and s.value.bit_length() > 63  # more than TOML promises, and than the wire carries
    ]
    named = {p.key for p in problems} | {dotted for dotted in several if problems}
    problems += _mistyped(model, {dotted: s for dotted, s in known.items() if dotted not in named})
    if problems:
        raise refusal(problems)
    document = model.model_validate(_nested(known))
    document.remember({dotted: s.origin for dotted, s in known.items()})
    return document


def is_named_table(model: type[Document], dotted: str) -> bool:
    """Whether it is one of the tables of which there may be several."""
    table, _, name = dotted.partition(".")
    return bool(name) and table in named_tables_of(model)


def _mistyped(model: type[Document], settings: Mapping[str, Setting]) -> Iterator[Problem]:
    try:
        model.model_validate(_nested(settings))
    except ValidationError as error:
        for dotted, cause, cure in translate(error, keys_of(model)):
            yield Problem(settings[dotted].origin, dotted, cause, cure)


def _nested(settings: Mapping[str, Setting]) -> dict[str, dict[str, object]]:
    nested: dict[str, dict[str, object]] = {}
    for dotted, setting in settings.items():
        table, _, name = dotted.partition(".")
        nested.setdefault(table, {})[name] = setting.value
    return nested


def _default_mode(keys: Mapping[str, Key]) -> object:
    key = keys.get("privacy.server_sees")
    return key.field.default if key else ""


def _unknown(dotted: str, setting: Setting, model: type[Document], *, server_sees: object) -> Problem:
    """Why a key is not one: planned, dropped, a table without its brackets, or a slip."""
    if sentence := planned_key(dotted, server_sees=server_sees):
        cure = f"Remove {_spelled(dotted, setting)} for now."
        return Problem(setting.origin, dotted, sentence, cure, planned=True)
    if dotted in DROPPED:
        return Problem(setting.origin, dotted, *DROPPED[dotted])
    if dotted in (tables := tables_of(model)):
        cause = f"[{dotted}] is a table, {show(setting.value)} was given."
        first = next(iter(tables[dotted].model_fields))
        return Problem(
            setting.origin, dotted, cause, f"Write [{dotted}] on its own line, and `{first} = ...` below it."
        )
    cause, cure = _misplaced(dotted, model) or _slip(dotted, setting, model)
    return Problem(setting.origin, dotted, cause, cure)


def _misplaced(dotted: str, model: type[Document]) -> tuple[str, str] | None:
    """A table or a key of the other settings file: cause and cure."""
    other = ClientConfig if model is FederationConfig else FederationConfig
    table, _, name = dotted.partition(".")
    where = "on the client's machine" if other is ClientConfig else "on the server's machine"
    if table not in tables_of(model) and table in tables_of(other):
        return f"[{table}] is a table of {other.FILE}, not of {model.FILE}.", f"Move it to {other.FILE}, {where}."
    if name and dotted in keys_of(other):
        return f"{dotted} is a setting of {other.FILE}, not of {model.FILE}.", f"Move it to {other.FILE}, {where}."
    return None


def _slip(dotted: str, setting: Setting, model: type[Document]) -> tuple[str, str]:
    table, _, name = dotted.partition(".")
    tables, keys = tables_of(model), keys_of(model)
    if table not in tables:
        return _stray(dotted, setting, model)
    here = tables[table].model_fields
    elsewhere = [key.dotted for key in keys.values() if key.name == name]
    meant = [f"{table}.{near}"] if (near := nearest(name, here)) else elsewhere
    allowed = f"The keys of [{table}] are {', '.join(here)}."
    return f"[{table}] has no key {name}.", _did_you_mean(meant, setting, keys) + allowed


def _stray(dotted: str, setting: Setting, model: type[Document]) -> tuple[str, str]:
    """A table that does not exist, or a key outside of the tables."""
    tables, keys = tables_of(model), keys_of(model)
    named = [f"{name}.NAME" for name in model.model_fields if name not in tables]
    listing = f"The tables are {', '.join([*tables, *named])}."
    if isinstance(setting.value, dict):
        meant = nearest(dotted, tables)
        return f"{model.FILE} has no table [{dotted}].", f"Did you mean [{meant}]? {listing}" if meant else listing
    if near := nearest(dotted, keys):
        guesses = [near]
    else:
        name = nearest(dotted, [key.name for key in keys.values()])
        guesses = [key.dotted for key in keys.values() if key.name == name]
    return f"{model.FILE} has no setting {dotted}.", _did_you_mean(guesses, setting, keys) + listing


def _did_you_mean(meant: list[str], setting: Setting, keys: Mapping[str, Key]) -> str:
    spelled = [keys[dotted].variable if setting.origin.kind == "env" else dotted for dotted in meant]
    return f"Did you mean {' or '.join(spelled)}? " if spelled else ""


def _spelled(dotted: str, setting: Setting) -> str:
    if setting.origin.kind != "file":
        return setting.origin.where
    return f"the table [{dotted}]" if isinstance(setting.value, dict) and "." not in dotted else dotted
