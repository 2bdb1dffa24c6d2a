"""Hostile clients, to see what a federation makes of them: `python -m roughfed.deploy.attack NAME --dir DIR`.

They are real agents with one dishonest place each: what they train on and make of it (`deploy/attack/poison`), or what
they say in a masked round (`deploy/attack/masked_lies.py`). A row says what is dishonest, and what the server then
holds against the client without any defence: the reason in its journal, and whether a lie costs the group its sum,
once.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.deploy.attack import masked_lies
from roughfed.deploy.attack.lying_client import Lie
from roughfed.deploy.attack.masked_lies import EVERYBODY
from roughfed.deploy.attack.poison import POISONS, Poison, times
from roughfed.secagg import messages as m

__all__ = ["ATTACKS", "SCALE", "Attack"]


@dataclass(frozen=True, slots=True)
class Attack:
    """A row of the table.

    Attributes:
        about: what the client does.
        poison: what it trains on and sends instead of an honest update; None where both are honest.
        factor: what its delta is multiplied by (`--factor` gives another size); 0 where that is not what it does.
        cut: whether its uploads are one value short.
        lie: what it says in a masked round instead of the truth.
        proof: what it is quarantined for; "" where nothing can be proved.
        verdict: why its update is left out in that round, where no defence is needed for it; "" where it counts.
        voids: whether its group gives no sum in that round.
    """

    about: str
    poison: Poison | None = None
    factor: float = 0.0
    cut: bool = False
    lie: Lie | None = None
    proof: str = ""
    verdict: str = ""
    voids: bool = False

    @property
    def hostile(self) -> bool:
        """Whether it does anything dishonest at all."""
        return self.poison is not None or self.lie is not None


def _proved(proof: str, about: str, lie: Lie, *, voids: bool = False) -> Attack:
    return Attack(about, lie=lie, proof=proof, verdict=proof, voids=voids)


_FACTORS = {"sign-flip": -1.0, "sign-flip-10": -10.0}
SCALE = Poison(
    "sends its delta ten times as large",
    "Bagdasaryan et al., AISTATS 2020, 1807.00459",
    times(10.0),
    masked="clipped to C",
)


def _poisoned() -> dict[str, Attack]:
    return {
        name: Attack(poison.about, poison, _FACTORS.get(name, 0.0), cut=name == "wrong-shape")
        for name, poison in POISONS.items()
    }


ATTACKS: dict[str, Attack] = {
    "none": Attack("an honest client, to compare with"),
    # what it trains and sends
    **_poisoned(),
    "scale": Attack(SCALE.about, SCALE, 10.0),
    # what it says of its update
    "false-sketch": _proved(
        "false-sketch", "signs a sketch that is not its update's", Lie(sketch=masked_lies.false_claim), voids=True
    ),
    "sketch-lie": _proved(
        "false-sketch",
        "uploads its update turned round, under the sketch of the true one",
        Lie(lanes=masked_lies.other_upload(-1)),
        voids=True,
    ),
    "loud-upload": _proved(
        "false-sketch",
        "uploads ten times its update, under the sketch of the true one",
        Lie(lanes=masked_lies.other_upload(10)),
        voids=True,
    ),
    "over-bound": _proved("over-bound", "uploads an update of 3 C, and says so", Lie(lanes=masked_lies.far_upload(3))),
    "false-self-mask": _proved(
        "false-sketch", "masks with a secret that it did not share", Lie(lanes=masked_lies.false_self_mask), voids=True
    ),
    "false-pair-mask": _proved(
        "false-sketch", "masks with a key that it has with nobody", Lie(lanes=masked_lies.false_pair_mask), voids=True
    ),
    # what it says of its pairs
    "false-pair-sketch": _proved(
        "false-pair-sketch", "signs a false sketch of one pair's mask", Lie(sketch=masked_lies.false_pair_sketch(1))
    ),
    "dispute-everybody": _proved(
        "false-pair-sketch",
        "signs false sketches of all its pairs' masks",
        Lie(sketch=masked_lies.false_pair_sketch(EVERYBODY)),
    ),
    "false-tag": Attack("publishes a false tag of the key with one mate", lie=Lie(shares=masked_lies.false_tag(1))),
    "false-tags": _proved(
        "false-tag", "publishes false tags of all its keys", Lie(shares=masked_lies.false_tag(EVERYBODY))
    ),
    # what it says of shares
    "bad-share": _proved(
        "bad-share", "deals one holder a share that cannot be opened", Lie(shares=masked_lies.bad_share(1))
    ),
    "bad-shares": _proved(
        "bad-share", "deals nobody a share that can be opened", Lie(shares=masked_lies.bad_share(EVERYBODY)), voids=True
    ),
    "bad-deal": _proved(
        "bad-deal",
        "deals shares of another secret than the one committed to",
        Lie(shares=masked_lies.bad_deal),
        voids=True,
    ),
    "false-complaint": _proved(
        "false-complaint", "complains about everybody's good shares", Lie(complaints=masked_lies.false_complaints)
    ),
    "wrong-answer": Attack(
        "gives a wrong share back at unmask", lie=Lie(unmask=masked_lies.wrong_answer), proof="bad-answer"
    ),
    # where it says nothing
    "silent-at-sketch": Attack("uploads, and sends no sketch", lie=Lie(silent=m.Seed), verdict="no-sketch"),
    "silent-at-unmask": Attack("gives no shares back; suspended after three times", lie=Lie(silent=m.UnmaskRequest)),
}
