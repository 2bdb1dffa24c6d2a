"""[tiers.NAME] of fed.toml: what the clients of one tier train and send, and what cannot stand beside tiers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, ValidationError

from roughfed.config.problems import Problem, conflict, translate
from roughfed.config.schema import keys_of
from roughfed.config.sources import Setting
from roughfed.config.values import STRICT, Patterns, show
from roughfed.errors import ConfigError
from roughfed.types import MAX_TIERS, TIER_NAME

if TYPE_CHECKING:
    from roughfed.config.federation import FederationConfig

TABLE = "tiers"
MODE = "privacy.server_sees"


class TierSettings(BaseModel):
    """A tier of clients, by its name; a client says in client.toml to which it belongs (`policy.tier`)."""

    model_config = STRICT

    fraction: float = Field(
        default=1.0,
        description="Part of the coordinates that a client of this tier sends: 1, 0.5, 0.25, 0.125 or 0.0625; with "
        '`server_sees = "updates"` the largest ones, in as many bytes.',
    )
    tensors: Patterns = Field(
        default=(),
        description='Patterns of names of the tensors that it trains and sends, for example ["head.*"]; empty = all. '
        "The others are frozen in its training.",
    )
    sketch_dim: int = Field(
        default=0,
        ge=0,
        le=4096,
        multiple_of=2,
        description="Numbers that the server sees of each of its updates; 0 = as in [sketch].",
    )


class _One(BaseModel):
    """A tier's table in the shape of a document, so that its keys have the names that people know."""

    model_config = STRICT
    tiers: TierSettings


def tier_problems(dotted: str, setting: Setting) -> Iterator[Problem]:
    """What is wrong with one table [tiers.NAME] by itself."""
    name = dotted.partition(".")[2]
    if not TIER_NAME.fullmatch(name):
        cause = f"{show(name)} is not a name of a tier."
        yield Problem(setting.origin, dotted, cause, "Write 1 to 63 lower-case letters, digits and hyphens.")
        return
    table: object = setting.value
    if not isinstance(table, dict):
        cause = f"[{dotted}] is a table, {show(setting.value)} was given."
        yield Problem(
            setting.origin, dotted, cause, f"Write [{dotted}] on its own line, and `fraction = 0.25` below it."
        )
        return
    try:
        _One.model_validate({TABLE: table})
    except ValidationError as error:
        for key, cause, cure in translate(error, keys_of(_One)):
            yield Problem(setting.origin, f"{dotted}.{key.partition('.')[2]}", cause, cure)


def tier_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """What does not fit the tiers."""
    if not config.tiers:
        return
    for name, settings in config.tiers.items():
        yield from _alone(config, name, settings)
    if len(config.tiers) > MAX_TIERS:
        cause = f"There are {len(config.tiers)} tiers of clients."
        yield conflict(config, (f"{TABLE}.{next(iter(config.tiers))}",), cause, f"Write at most {MAX_TIERS}.")
    yield from _same_tensors(config)
    yield from _beside(config)


def _alone(config: FederationConfig, name: str, settings: TierSettings) -> Iterator[Problem]:
    from roughfed.codec.plan import plan_subset  # numpy: not for whoever merely reads settings

    key, masked = f"{TABLE}.{name}", config.privacy.masked
    try:
        plan_subset(settings.fraction)
    except ConfigError as error:
        cause = f"{key}.fraction = {show(settings.fraction)} of the coordinates cannot be sent."
        yield conflict(config, (key,), cause, f"{error.cure[:1].upper()}{error.cure[1:]}.")
        return
    if settings.fraction < 1 and not masked and config.codec.name == "top-k":
        cause = (
            f"{key}.fraction = {show(settings.fraction)} sends some values now and never the others, and codec.name = "
            '"top-k" has the standard tier say some of its own later: there would be no whole mean to correct.'
        )
        yield conflict(config, (key, "codec.name"), cause, 'Write name = "auto" in [codec], or remove the fraction.')
    if settings.sketch_dim and config.privacy.server_sees != "sketches":
        mode = show(config.privacy.server_sees)
        cause = f"{key}.sketch_dim = {settings.sketch_dim} has no effect while {MODE} = {mode}."
        yield conflict(config, (key, MODE), cause, 'Remove it, or write server_sees = "sketches" in [privacy].')


def _same_tensors(config: FederationConfig) -> Iterator[Problem]:
    """Tiers that train the same tensors: each sends another part, and one of them all of it.

    What a subset says corrects the mean of those who send everything (docs/decisions/0020-tiers.md).
    """
    standard = config.codec.fraction if config.privacy.masked else 1.0
    by_tensors: dict[tuple[str, ...], dict[float, str]] = {(): {standard: ""}}
    for name, settings in config.tiers.items():
        others = by_tensors.setdefault(settings.tensors, {})
        if (other := others.get(settings.fraction)) is not None:
            cause = f"[{TABLE}.{name}] is the same as {f'[{TABLE}.{other}]' if other else 'the standard tier'}."
            cure = "Give it another fraction or other tensors, or remove it."
            yield conflict(config, (f"{TABLE}.{name}",), cause, cure)
        others[settings.fraction] = name
    for tensors, fractions in by_tensors.items():
        if len(fractions) == 1 or 1.0 in fractions:
            continue
        key = f"{TABLE}.{next(name for name in fractions.values() if name)}"
        cause = (
            f"{key}.fraction sends a part of {show(list(tensors)) if tensors else 'all tensors'}, and nobody sends all "
            "of it: there is no mean that it could correct."
        )
        cure = f"Write fraction = 1.0 in {'[codec]' if not tensors else 'another tier with the same tensors'}."
        yield conflict(config, (key, "codec.fraction"), cause, cure)


def _beside(config: FederationConfig) -> Iterator[Problem]:
    """Settings that take every client for one that sends all of the model."""
    key = f"{TABLE}.{next(iter(config.tiers))}"
    if config.trainer.scaffold:
        cause = f"[{key}] has clients say a part of an update, and scaffold in trainer.method needs all of it."
        yield conflict(config, (key, "trainer.method"), cause, "Remove the tiers, or leave scaffold out.")
    if (watched := config.contribution.free_riders) in ("flag", "exclude"):
        cause = (
            f"contribution.free_riders = {show(watched)} holds all updates against one another, and those of [{key}] "
            "are of other coordinates."
        )
        cure = "Remove contribution.free_riders, or the tiers."
        yield conflict(config, (key, "contribution.free_riders"), cause, cure)
    if (method := config.contribution.method) != "none" and not config.privacy.masked:
        cause = f"contribution.method = {show(method)} scores whole updates, and clients of [{key}] send a part of one."
        yield conflict(config, (key, "contribution.method"), cause, "Remove contribution.method, or the tiers.")
    scoped = [name for name, settings in config.tiers.items() if settings.tensors]
    if not scoped:
        return
    key = f"{TABLE}.{scoped[0]}"
    if (how := config.trainer.calibrate) == "creff":
        cause = (
            f"{key}.tensors has clients train a part of the model, and trainer.calibrate = {show(how)} takes gradients "
            "of one classifier from all of them."
        )
        yield conflict(config, (key, "trainer.calibrate"), cause, "Remove tensors, or trainer.calibrate.")
    if config.aggregate.scaling == "fednova":
        cause = (
            f'{key}.tensors has clients train a part of the model, and aggregate.scaling = "fednova" makes all updates '
            "as long as if each had made as many steps on all of it."
        )
        yield conflict(config, (key, "aggregate.scaling"), cause, "Remove tensors, or aggregate.scaling.")
