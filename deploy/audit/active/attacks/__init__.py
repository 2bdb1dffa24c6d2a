"""What a cheating server tries, one file and one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.deploy.audit.active.attack import ActiveAttack
from roughfed.deploy.audit.active.attacks.beacon import BEACON, MISSED
from roughfed.deploy.audit.active.attacks.choice import CHOICES
from roughfed.deploy.audit.active.attacks.difference import AVERAGED, DIFFERENCING, MOVED
from roughfed.deploy.audit.active.attacks.downgrade import DOWNGRADE
from roughfed.deploy.audit.active.attacks.phantom import PHANTOM, PHANTOM_OF_TEN
from roughfed.deploy.audit.active.attacks.rename import RENAMED
from roughfed.deploy.audit.active.attacks.standstill import DRIFTING, FROZEN

PLAYED = (
    *(PHANTOM, PHANTOM_OF_TEN, DOWNGRADE, RENAMED, FROZEN, DRIFTING),
    *(DIFFERENCING, AVERAGED, MOVED, CHOICES, BEACON, MISSED),
)

ATTACKS: Mapping[str, ActiveAttack] = {attack.name: attack for attack in PLAYED}
