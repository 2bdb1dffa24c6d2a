"""Models of a client's own, beside the common one or made from it. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker
from roughfed.client.trainer.personal.adaptive_mixing import adaptive_mixing
from roughfed.client.trainer.personal.ditto import ditto
from roughfed.client.trainer.personal.fedrep import fedrep
from roughfed.client.trainer.personal.fine_tune import fine_tune

PERSONAL: Mapping[str, Maker] = {
    "fine-tune": fine_tune,
    "ditto": ditto,
    "adaptive-mixing": adaptive_mixing,
    "fedrep": fedrep,
}
