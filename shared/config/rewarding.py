"""What cannot stand together about free-riders and rewards."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show

RIDERS, TIERS, MODE = "contribution.free_riders", "reward.tiers", "privacy.server_sees"
METHOD = "contribution.method"


def reward_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything of this kind that is wrong."""
    chosen, sees = config.contribution.free_riders, config.privacy.server_sees
    if chosen in ("flag", "exclude") and sees == "sums":
        cause = f"{RIDERS} = {show(chosen)} looks at single clients, and {MODE} = {show(sees)} shows none."
        cure = f'Write {MODE} = "sketches" or "updates", or {RIDERS} = "off".'
        yield conflict(config, (RIDERS, MODE), cause, cure)
    if not config.reward.tiers and "beta" in config.reward.model_fields_set:
        cause = f"reward.beta = {show(config.reward.beta)} has no effect without {TIERS}."
        yield conflict(config, ("reward.beta", TIERS), cause, f"Remove it, or write {TIERS}, for example [0.5, 1.0].")
    if config.reward.tiers and config.contribution.method == "none":
        cause = f'{TIERS} = {show(config.reward.tiers)} goes by scores, and {METHOD} = "none" scores nobody.'
        yield conflict(config, (TIERS, METHOD), cause, f'Remove {TIERS}, or write method = "auto" in [contribution].')
