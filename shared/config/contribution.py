"""[contribution]: what is found out about each client's part in the model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, Field

from roughfed.config.values import STRICT

SEES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "leave-one-out": ("updates",),
        "shapley": ("updates",),
        "gtg-shapley": ("updates",),
        "cgsv": ("updates", "sketches"),
        "group-regression": ("sums",),
    }
)
"""Method -> the values of `privacy.server_sees` with which it can score."""

GAMES = ("leave-one-out", "shapley", "gtg-shapley")
"""Methods that evaluate models on the server's own data, and cannot do without."""

DEFAULT_UTILITY: Mapping[str, str] = MappingProxyType({"classification": "balanced-accuracy", "regression": "loss"})
"""Task -> what a model is worth, where `contribution.utility` does not say."""


class Contribution(BaseModel):
    """What each client's part in the model was worth, and who only seems to have one."""

    model_config = STRICT

    free_riders: Literal["auto", "off", "flag", "exclude"] = Field(
        default="auto",
        description="Look for clients that train nothing (docs/ledger.md), and note them, or leave them out as well; "
        "auto = flag where the server sees single clients.",
    )

    method: Literal["none", "auto", "leave-one-out", "shapley", "gtg-shapley", "cgsv", "group-regression"] = Field(
        default="none",
        description="How each client's part in the model is scored (docs/contribution.md); auto = gtg-shapley where "
        "the server sees updates and has data of its own, cgsv where it sees single clients, group-regression with "
        '`server_sees = "sums"` and groups that change.',
    )
    utility: Literal["auto", "balanced-accuracy", "accuracy", "loss", "cosine"] = Field(
        default="auto",
        description="What a model is worth on the server's own data: the score goes by it, the others stand beside; "
        "auto = balanced-accuracy (regression: loss). cosine (of a group with the sum of all): group-regression alone.",
    )
    every: int = Field(default=1, ge=1, description="Score every so many rounds.")
    budget: int = Field(
        default=0,
        ge=0,
        description="gtg-shapley: models that may be evaluated for a round; 0 = five for each client.",
    )
    examples: int = Field(
        default=2000, ge=10, description="Examples of the server's own data that they are evaluated on, at most."
    )

    def watches(self, server_sees: str) -> bool:
        """Whether the updates of a round are looked at for free-riders."""
        return self.free_riders != "off" and server_sees != "sums"
