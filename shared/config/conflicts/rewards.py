"""What cannot stand together about free-riders and rewards."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show

RIDERS, LEVELS, MODE = "contribution.free_riders", "reward.levels", "privacy.server_sees"
METHOD = "contribution.method"


def reward_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything of this kind that is wrong."""
    chosen, sees = config.contribution.free_riders, config.privacy.server_sees
    if chosen in ("flag", "exclude") and sees == "sums":
        cause = f"{RIDERS} = {show(chosen)} looks at single clients, and {MODE} = {show(sees)} shows none."
        cure = f'Write {MODE} = "sketches" or "updates", or {RIDERS} = "off".'
        yield conflict(config, (RIDERS, MODE), cause, cure)
    if not config.reward.levels and "beta" in config.reward.model_fields_set:
        cause = f"reward.beta = {show(config.reward.beta)} has no effect without {LEVELS}."
        yield conflict(config, ("reward.beta", LEVELS), cause, f"Remove it, or write {LEVELS}, for example [0.5, 1.0].")
    if config.reward.levels and config.contribution.method == "none":
        cause = f'{LEVELS} = {show(config.reward.levels)} goes by scores, and {METHOD} = "none" scores nobody.'
        yield conflict(config, (LEVELS, METHOD), cause, f'Remove {LEVELS}, or write method = "auto" in [contribution].')
