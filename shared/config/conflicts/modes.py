"""What the modes of `privacy.server_sees` rule out: settings that cannot be masked, or that a mode has no use for."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.schema import keys_of
from roughfed.config.values import show
from roughfed.errors import ConfigError
from roughfed.secagg.groups import SMALLEST

MODE = "privacy.server_sees"
_UPDATES = 'server_sees = "updates" in [privacy]'


def mode_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything that does not fit what the server sees."""
    if config.privacy.masked:
        yield from _few_clients(config)
        yield from _not_summable(config)
    yield from _without_effect(config)
    yield from _lane_numbers(config)


def written(config: FederationConfig, key: str) -> bool:
    """Whether somebody set a dotted key, be it to its default."""
    table, _, name = key.partition(".")
    return name in getattr(config, table).model_fields_set


def _few_clients(config: FederationConfig) -> Iterator[Problem]:
    """Numbers that no sum can hide in."""
    r = config.round
    given = {"round.cohort": r.cohort, "round.quorum": r.quorum}
    if written(config, "round.min_clients"):  # the default is 2 for the other mode, and the server waits for 4
        given["round.min_clients"] = r.min_clients
    for key, number in given.items():
        if isinstance(number, int) and 0 < number < SMALLEST:
            cause = (
                f"{key} = {number} is too few to hide in: with {_mode(config)} a sum has {SMALLEST} clients or more."
            )
            cure = f"Raise {key} to {SMALLEST} or more, or write {_UPDATES}."
            yield conflict(config, (key, MODE), cause, cure)


def _not_summable(config: FederationConfig) -> Iterator[Problem]:
    name, weighting = config.codec.name, config.aggregate.weighting
    if name not in ("auto", "lanes"):
        cause = f"codec.name = {show(name)} makes no integers that could be masked and added, as {_mode(config)} needs."
        yield conflict(config, ("codec.name", MODE), cause, f'Write name = "auto" in [codec], or {_UPDATES}.')
    if weighting == "examples":
        cause = (
            f'aggregate.weighting = "examples" needs every client\'s number of examples, which {_mode(config)} hides: '
            "clients weigh the same."
        )
        cure = f'Write weighting = "auto" in [aggregate], or {_UPDATES}.'
        yield conflict(config, ("aggregate.weighting", MODE), cause, cure)


def _without_effect(config: FederationConfig) -> Iterator[Problem]:
    """Settings that somebody wrote and that nothing would read."""
    sees = config.privacy.server_sees
    if sees != "sketches":
        cure = 'Remove {key}, or write server_sees = "sketches" in [privacy].'
        yield from _idle(config, ("sketch.dim",), MODE, cure)
    if sees == "updates":
        cure = 'Remove {key}, or write server_sees = "sketches" or "sums" in [privacy].'
        yield from _idle(config, ("groups.regroup_every",), MODE, cure)
        if config.codec.name == "lanes":
            cause = f'codec.name = "lanes" is made for masked sums, and {_mode(config)} masks nothing.'
            cure = 'Write name = "auto" in [codec], or server_sees = "sketches" or "sums" in [privacy].'
            yield conflict(config, ("codec.name", MODE), cause, cure)
        keys = [key for key in keys_of(FederationConfig) if key.startswith("codec.")]
        lanes = tuple(key for key in keys if key not in ("codec.name", "codec.downlink"))
        cure = 'Remove {key}, or write server_sees = "sketches" or "sums" in [privacy].'
        yield from _idle(config, lanes, MODE, cure)
    if config.defence.rule_of(sees) == "none":
        cure = 'Remove {key}, or write rule = "multi-krum" in [defence].'
        yield from _idle(config, ("defence.f",), "defence.rule", cure)


def _idle(config: FederationConfig, keys: tuple[str, ...], because: str, cure: str) -> Iterator[Problem]:
    for key in keys:
        if written(config, key):
            values = {dotted: show(_value(config, dotted)) for dotted in (key, because)}
            cause = f"{key} = {values[key]} has no effect while {because} = {values[because]}."
            yield conflict(config, (key, because), cause, cure.format(key=key))


def _lane_numbers(config: FederationConfig) -> Iterator[Problem]:
    from roughfed.codec.plan import plan_subset  # numpy: not for whoever merely reads settings

    codec = config.codec
    try:
        plan_subset(codec.fraction)
    except ConfigError as error:
        cause = f"codec.fraction = {show(codec.fraction)} of the coordinates cannot be sent."
        yield conflict(config, ("codec.fraction",), cause, f"{error.cure[:1].upper()}{error.cure[1:]}.")
    if not codec.clip_floor <= codec.clip_norm <= codec.clip_ceiling:
        keys = ("codec.clip_norm", "codec.clip_floor", "codec.clip_ceiling")
        values = ", ".join(f"{key} = {show(_value(config, key))}" for key in keys)
        cause = f"The clip norm starts outside of its limits: {values}."
        yield conflict(config, keys, cause, "Write numbers with clip_floor <= clip_norm <= clip_ceiling in [codec].")


def _mode(config: FederationConfig) -> str:
    return f"{MODE} = {show(config.privacy.server_sees)}"


def _value(config: FederationConfig, key: str) -> object:
    table, _, name = key.partition(".")
    return getattr(getattr(config, table), name)
