"""What is made rough about a client's listed data: settings that contradict one another, or that nothing would read."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.client import ClientConfig, ClientData
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show
from roughfed.errors import ConfigError

SHAPING = ("scenario", "imbalance", "class_order", "noise", "noise_kind", "noisy_clients", "tasks")
ARRIVING = ("rounds_per_task", "stagger")


def rough_conflicts(config: ClientConfig) -> Iterator[Problem]:
    """Everything in [data] that is rough and does not fit."""
    changed = [key for key in (*SHAPING, *ARRIVING) if _changed(config.data, key)]
    if config.app.path:
        yield from _idle(config, [*changed, *(["folder"] if config.data.folder else [])], "app", "path")
    elif config.data.folder:
        yield from _idle(config, changed, "data", "folder")
    elif changed:
        yield from _mixture(config, changed)


def _idle(config: ClientConfig, keys: list[str], table: str, name: str) -> Iterator[Problem]:
    """These make listed data rough, and other data are trained on."""
    other = f"{table}.{name}"
    value = show(getattr(getattr(config, table), name))
    for key in keys:
        cause = f"data.{key} = {show(getattr(config.data, key))} has no effect on the data of {other} = {value}."
        yield conflict(config, (f"data.{key}", other), cause, f"Remove data.{key}, or remove {other}.")


def _mixture(config: ClientConfig, changed: list[str]) -> Iterator[Problem]:
    from roughfed.data.roughness import roughness  # numpy: not for whoever merely reads settings

    data = config.data
    try:
        rough = roughness(data.name, data.scenario, data.model_dump())
    except ConfigError as error:
        yield conflict(config, (error.key,), f"{error.cause}.", f"{error.cure[:1].upper()}{error.cure[1:]}.")
        return
    needs = {
        "class_order": ("imbalance", rough.imbalance > 1),
        "noise_kind": ("noise", rough.noise > 0),
        "noisy_clients": ("noise", rough.noise > 0),
        "rounds_per_task": ("tasks", rough.tasks > 1),
        "stagger": ("tasks", rough.tasks > 1),
    }
    for key in changed:
        other, fine = needs.get(key, ("", True))
        if not fine:
            cause = f"data.{key} = {show(getattr(data, key))} has no effect without data.{other}."
            yield conflict(config, (f"data.{key}",), cause, f"Set data.{other}, or remove data.{key}.")


def _changed(data: ClientData, key: str) -> bool:
    return getattr(data, key) != type(data).model_fields[key].default
