"""[optimize]: settings that the chosen server optimizer does not read."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.combining import OPTIONS
from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show


def optimizer_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Options of other rules than the one that steps."""
    chosen = config.optimize
    for key in sorted({key for keys in OPTIONS.values() for key in keys} - {*OPTIONS[chosen.rule]}):
        if key in chosen.model_fields_set:
            readers = " or ".join(show(rule) for rule, keys in OPTIONS.items() if key in keys)
            cause = (
                f"optimize.{key} = {show(getattr(chosen, key))} has no effect while optimize.rule = "
                f"{show(chosen.rule)}."
            )
            cure = f"Remove optimize.{key}, or write rule = {readers} in [optimize]."
            yield conflict(config, (f"optimize.{key}", "optimize.rule"), cause, cure)
