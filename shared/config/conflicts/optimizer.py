"""[optimize] and [aggregate]: settings that the chosen rule does not read, or that it cannot work with."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.aggregation import OPTIONS
from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show
from roughfed.secagg.groups import SMALLEST


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


def scaling_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """A scaling that needs the steps of more clients than a round has, or that has nothing to mend."""
    if config.aggregate.scaling != "fednova":
        return
    cohort = config.round.cohort
    if isinstance(cohort, int) and 0 < cohort < SMALLEST:
        cause = (
            f'aggregate.scaling = "fednova" goes by the mean steps of {SMALLEST} clients or more, and round.cohort = '
            f"{cohort} asks for fewer: nothing would ever be scaled."
        )
        cure = f"Raise round.cohort to {SMALLEST}, or remove aggregate.scaling."
        yield conflict(config, ("aggregate.scaling", "round.cohort"), cause, cure)
    if config.trainer.scaffold:
        cause = (
            'aggregate.scaling = "fednova" makes up for differing numbers of steps; scaffold in trainer.method leads '
            "to the right model whatever they are: together they would only make clients with few steps loud."
        )
        cure = "Remove aggregate.scaling, or scaffold from trainer.method."
        yield conflict(config, ("aggregate.scaling", "trainer.method"), cause, cure)
