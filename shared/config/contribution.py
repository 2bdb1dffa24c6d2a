"""[contribution]: what is found out about each client's part in the model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from roughfed.config.values import STRICT


class Contribution(BaseModel):
    """What each client's part in the model was worth, and who only seems to have one."""

    model_config = STRICT

    free_riders: Literal["auto", "off", "flag", "exclude"] = Field(
        default="auto",
        description="Look for clients that train nothing (docs/ledger.md): note them, or leave them out as well; auto = "
        "flag where the server sees single clients.",
    )

    def watches(self, server_sees: str) -> bool:
        """Whether the updates of a round are looked at for free-riders."""
        return self.free_riders != "off" and server_sees != "sums"
