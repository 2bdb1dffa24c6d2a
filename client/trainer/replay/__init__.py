"""Replays: what is done with a memory in each step. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker
from roughfed.client.trainer.replay.a_gem import a_gem
from roughfed.client.trainer.replay.der import der, der_plus_plus
from roughfed.client.trainer.replay.er import er
from roughfed.client.trainer.replay.er_ace import er_ace
from roughfed.client.trainer.replay.gem import gem

REPLAYS: Mapping[str, Maker] = {
    "er": er,
    "er-ace": er_ace,
    "der": der,
    "der++": der_plus_plus,
    "gem": gem,
    "a-gem": a_gem,
}
