"""How the server finishes a model from sums: a new classifier on the same features. One file each, one row each.

Run by the worker beside the server; the result stands beside the model and is never the base of a round.
"""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.calibrate.ccvr import ccvr
from roughfed.client.trainer.calibrate.creff import creff
from roughfed.client.trainer.calibrate.post_hoc import post_hoc
from roughfed.client.trainer.training.classifier_sums import Maker

FINISHERS: Mapping[str, Maker] = {
    "ccvr": ccvr,
    "creff": creff,
    "post-hoc": post_hoc,
}
