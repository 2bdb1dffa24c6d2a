"""[clusters]: several models at once, each for clients that belong together."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from roughfed.config.values import STRICT

SMALLEST_MASKED, SMALLEST_CLEAR = 7, 2
"""Members without which a cluster joins the default: behind masks as many as a group has at least."""

OF_METHOD = {
    "ifca": ("k", "choose_every"),
    "cfl": ("warmup", "cooldown", "window", "eps1", "eps2", "separation"),
}
"""Method -> the keys that it alone reads."""


class Clusters(BaseModel):
    """Several models at once, each for clients that belong together (docs/clusters.md)."""

    model_config = STRICT

    method: Literal["none", "ifca", "cfl"] = Field(
        default="none",
        description="ifca: each client says which of k models has the least loss on its data; cfl: a cluster is split "
        "where its clients' updates keep pulling two ways; none: one model for all.",
    )
    k: int = Field(default=2, ge=2, le=16, description="ifca: models to choose from.")
    choose_every: int = Field(
        default=5, ge=1, description="ifca: rounds of a cluster after which the clients choose again."
    )
    smallest: int = Field(
        default=0,
        ge=0,
        description="Members without which a cluster joins the default one; 0 = "
        f"{SMALLEST_MASKED} when masked, else {SMALLEST_CLEAR}.",
    )
    warmup: int = Field(default=5, ge=1, description="cfl: rounds before the first split.")
    cooldown: int = Field(default=3, ge=1, description="cfl: rounds of a cluster after a split before the next one.")
    window: int = Field(
        default=3, ge=2, le=20, description="cfl: rounds whose angles are added up; one alone never splits."
    )
    eps1: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="cfl: split only where the mean update is shorter than this part of the typical one.",
    )
    eps2: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="cfl: split only while the longest update is longer than this part of the first round's.",
    )
    separation: float = Field(
        default=0.3,
        gt=0,
        le=2,
        description="cfl: how much larger a client's mean cosine to its own part must be than to the other part.",
    )

    @property
    def on(self) -> bool:
        """Whether there can be more than one cluster."""
        return self.method != "none"

    @property
    def chosen_among(self) -> int:
        """How many models clients are asked to choose among; 0: they are never asked."""
        return self.k if self.method == "ifca" else 0

    def least(self, *, masked: bool) -> int:
        """Members without which a cluster joins the default."""
        return self.smallest or (SMALLEST_MASKED if masked else SMALLEST_CLEAR)
