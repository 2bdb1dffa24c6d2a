"""[fairness]: clients that the model serves badly count for more, within a cap; and what cannot stand beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from roughfed.config.problems import Problem, conflict
from roughfed.config.values import STRICT, show

if TYPE_CHECKING:
    from roughfed.config.federation import FederationConfig

OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"none": (), "q-fedavg": ("q", "cap", "step"), "term": ("t", "cap")}
)
"""Rule -> the keys of [fairness] that it reads."""

RULE = "fairness.rule"


class Fairness(BaseModel):
    """How much more a client counts whose loss is higher than the others'."""

    model_config = STRICT

    rule: Literal["none", "q-fedavg", "term"] = Field(
        default="none",
        description="Clients with a higher loss under the model that they were sent count for more "
        "(docs/fairness.md): by a power of it (q-fedavg), or by an exponential of it (term).",
    )
    q: float = Field(default=1.0, ge=0, le=20, description="q-fedavg: the power of the loss; 0 is FedAvg.")
    t: float = Field(default=1.0, ge=0, le=20, description="term: the tilt; 0 is FedAvg.")
    cap: float = Field(
        default=3.0,
        gt=1,
        le=4,
        description="Most that a client counts for, a client at the typical loss being 1: what a client gains that "
        "claims a loss it has not.",
    )
    step: Literal["mean", "paper"] = Field(
        default="mean",
        description="q-fedavg: how far the model goes: to the weighted mean of the updates, or, as in the paper, less "
        "far the longer they are beside 1 / trainer.lr, which needs whole updates.",
    )

    @property
    def strength(self) -> float:
        """Of the rule: q or t; 0 without a rule."""
        return {"none": 0.0, "q-fedavg": self.q, "term": self.t}[self.rule]


def fairness_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Settings that the rule does not read, or that it cannot work beside."""
    chosen = config.fairness
    yield from _unread(config)
    if chosen.rule == "none":
        return
    if config.round.evaluate_every != 1:
        cause = (
            f"{RULE} = {show(chosen.rule)} goes by each client's loss under the model that it was just sent, and "
            f"round.evaluate_every = {config.round.evaluate_every} has clients evaluate more seldom."
        )
        yield conflict(config, (RULE, "round.evaluate_every"), cause, "Set round.evaluate_every to 1.")
    if config.trainer.scaffold:
        cause = f"{RULE} = {show(chosen.rule)} weighs clients, and scaffold in trainer.method needs all of them alike."
        cure = "Remove fairness.rule, or scaffold from trainer.method."
        yield conflict(config, (RULE, "trainer.method"), cause, cure)
    if config.privacy.masked:
        yield from _masked(config)


def _unread(config: FederationConfig) -> Iterator[Problem]:
    chosen = config.fairness
    for key in ("q", "t", "cap", "step"):
        if key in chosen.model_fields_set and key not in OPTIONS[chosen.rule]:
            readers = " or ".join(show(rule) for rule, keys in OPTIONS.items() if key in keys)
            cause = f"fairness.{key} = {show(getattr(chosen, key))} has no effect while {RULE} = {show(chosen.rule)}."
            cure = f"Remove fairness.{key}, or write rule = {readers} in [fairness]."
            yield conflict(config, (f"fairness.{key}", RULE), cause, cure)


def _masked(config: FederationConfig) -> Iterator[Problem]:
    """What four public classes cannot say."""
    sees = f"privacy.server_sees = {show(config.privacy.server_sees)}"
    if config.fairness.step == "paper":
        cause = (
            f'fairness.step = "paper" needs each client\'s loss beside the length of its update, which {sees} hides.'
        )
        cure = 'Remove fairness.step, or write server_sees = "updates" in [privacy].'
        yield conflict(config, ("fairness.step", "privacy.server_sees"), cause, cure)
    if config.trainer.self_weight:
        cause = (
            f"trainer.self_weight = true and {RULE} = {show(config.fairness.rule)} would both have to be said with "
            f"the four weight classes that {sees} has, and their products are none."
        )
        cure = 'Remove trainer.self_weight or fairness.rule, or write server_sees = "updates" in [privacy].'
        yield conflict(config, ("trainer.self_weight", RULE), cause, cure)
