"""The conditions of `python -m tests.bench accuracy`: who adds up, how, and what the hostile clients do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from roughfed.deploy.attack import SCALE
from roughfed.deploy.attack.poison import POISONS, Poison
from tests.bench.harness.rounds import MaskedPlan

ATTACKS: Mapping[str, Poison] = MappingProxyType(
    {
        "sign-flip": POISONS["sign-flip"],
        "sign-flip-10": POISONS["sign-flip-10"],
        "scale-10": SCALE,
        "label-flip": POISONS["label-flip"],
    }
)
"""What hostile clients make of their updates. The agent around them is honest: masked, it cuts an update to C. One that
is not cut counts up to the bound on norms, 1.5 C, and is left out beyond it; what that slack is worth is not played."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to play.

    Attributes:
        plan: of the masked rounds; None adds updates as they are, in float32.
        by_examples: weigh by the number of examples, which nobody sees in masked rounds.
        attack: a row of ATTACKS; "" for none.
    """

    plan: MaskedPlan | None = None
    by_examples: bool = False
    attack: str = ""


PLAIN, CODEC, DEFENDED = "float32", "codec", "defended"

_DEFENDED = MaskedPlan(rule="multi-krum")

CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        PLAIN: Condition(),
        "float32-by-examples": Condition(by_examples=True),
        CODEC: Condition(MaskedPlan()),
        "codec-16-bits": Condition(MaskedPlan(lane_bits=16)),
        "codec-1/4": Condition(MaskedPlan(keep_one_in=4)),
        "codec-1/4-forgetful": Condition(MaskedPlan(keep_one_in=4, feedback=False)),
        "codec-1/8": Condition(MaskedPlan(keep_one_in=8)),
        DEFENDED: Condition(_DEFENDED),
        **{f"{PLAIN}:{name}": Condition(attack=name) for name in ATTACKS},
        **{f"{DEFENDED}:{name}": Condition(_DEFENDED, attack=name) for name in ATTACKS},
    }
)
