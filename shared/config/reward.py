"""[reward]: what clients are given for what they contributed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

from pydantic import BaseModel, BeforeValidator, Field

from roughfed.config.values import STRICT, Words, refuse, show


def _levels(value: object) -> object:
    if not isinstance(value, list | tuple):
        refuse(f"{show(value)} is no list of shares.", "Write for example [0.25, 0.5, 0.75, 1.0], or [] for none.")
    given = cast("Sequence[object]", value)
    shares = [float(share) for share in given if isinstance(share, int | float) and not isinstance(share, bool)]
    if len(shares) != len(given) or any(not 0 < share <= 1 for share in shares):
        refuse(
            f"{show(given)}: a level is a share of the model, above 0 and at most 1.", "Write for example [0.5, 1.0]."
        )
    if shares and (shares != sorted(set(shares)) or shares[-1] != 1.0):
        refuse(f"{show(given)}: levels rise, and the last one is the whole model.", "Write for example [0.5, 1.0].")
    return tuple(shares)


Levels = Annotated[tuple[float, ...], BeforeValidator(_levels), Words("list of shares, rising to 1.0", show)]


class Reward(BaseModel):
    """What a client is given in the end; no round is changed by it (docs/ledger.md)."""

    model_config = STRICT

    levels: Levels = Field(
        default=(),
        description="Qualities of the model that `roughfed export --for CLIENT` writes: shares of the coordinates that "
        "differ from the first model, rising, the last one 1.0; [] = everybody gets the whole model.",
    )
    beta: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="The larger, the more clients get the best level: a client's quality is tanh(beta r) / max, r "
        "being its score in units of the mean.",
    )
