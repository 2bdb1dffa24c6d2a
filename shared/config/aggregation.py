"""[aggregate] and [optimize]: how updates become one, and how the server steps along it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from roughfed.config.values import STRICT

LEARNING_RATES: Mapping[str, float] = MappingProxyType(
    {"sgd": 1.0, "fedavgm": 1.0, "fedadam": 0.1, "fedyogi": 0.01, "fedadagrad": 0.1}
)
"""Server optimizer -> its learning rate where none is given."""

_ADAPTIVE = ("beta1", "beta2", "tau")
OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sgd": (),
        "fedavgm": ("momentum",),
        "fedadam": _ADAPTIVE,
        "fedyogi": _ADAPTIVE,
        "fedadagrad": ("beta1", "tau"),
    }
)
"""Server optimizer -> the keys of [optimize] that it reads, beside lr."""


def _rule(value: object) -> object:
    return "sgd" if value == "fedavg" else value  # its name in the papers


class Aggregate(BaseModel):
    """How updates become one."""

    model_config = STRICT

    weighting: Literal["auto", "examples", "uniform"] = Field(
        default="auto",
        description="Weight of an update: its number of examples, or the same for each client; auto = examples where "
        "the server sees updates, uniform when masked.",
    )

    scaling: Literal["none", "fednova"] = Field(
        default="none",
        description="fednova: clients that make more local steps do not pull the model their way; each divides its "
        "update by its steps and multiplies it by all clients' mean, which at least four must have told.",
    )

    def weighting_of(self, server_sees: str) -> str:
        """The rule of a round: a row of `roughfed.server.aggregate`."""
        return self.weighting if self.weighting != "auto" else "examples" if server_sees == "updates" else "uniform"


class Optimize(BaseModel):
    """How the server steps along the combined update."""

    model_config = STRICT

    rule: Annotated[Literal["sgd", "fedavgm", "fedadam", "fedyogi", "fedadagrad"], BeforeValidator(_rule)] = Field(
        default="sgd", description='Server optimizer; "sgd" with lr 1.0 is FedAvg (and may be called "fedavg").'
    )
    lr: float = Field(
        default=0.0,
        ge=0,
        description="Server learning rate; 0 = as the rule is used to: "
        + ", ".join(f"{rate:g} ({rule})" for rule, rate in LEARNING_RATES.items())
        + ".",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="fedavgm: part of the last step that is made again.")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adaptive rules: decay of the mean of the updates.")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="fedadam, fedyogi: decay of the mean of their squares.")
    tau: float = Field(
        default=1e-3, gt=0, le=1, description="Adaptive rules: how far they adapt; the smaller the further."
    )

    @property
    def rate(self) -> float:
        """The learning rate of the run."""
        return self.lr or LEARNING_RATES[self.rule]
