"""What a client's advert says beside its keys: the statistics that it will give, and the weight of its update.

Both are said before the round's groups and data are known, signed, and written ahead: the same after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roughfed.secagg.groups import contributors
from roughfed.secagg.messages import Advertise

FULL = 4
"""Quarters of a client that does not weigh itself down. The classes are 1, 2, 3 and 4 quarters."""


@dataclass(frozen=True, slots=True)
class Gives:
    """What one client promises; or, without the weight, what counts in its group.

    Attributes:
        statics: the statistics that are told once a run.
        evaluation: those of an evaluation of the base model.
        training: those that local training works out.
        quarters: weight class of its update, 1 to 4.
    """

    statics: bool = False
    evaluation: bool = False
    training: bool = False
    quarters: int = FULL


NOTHING = Gives()


def counted(adverts: Sequence[Advertise]) -> Gives:
    """Which statistics count in a group.

    One alone among others' zeros would be seen in the sum: what is told once must hide among all of the group, the rest
    among so many that at least four are behind every sum that the rules allow.
    """
    enough = contributors(len(adverts))
    return Gives(
        statics=all(advert.statics for advert in adverts),
        evaluation=sum(advert.evaluates for advert in adverts) >= enough,
        training=sum(advert.trains for advert in adverts) >= enough,
    )
