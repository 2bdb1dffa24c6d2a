"""Step 12: (params, delta, state) -> (params', state'). A server optimizer is one file and one row.

Rules work on slices, so that neither model nor state has to be resident. What they may be told is in
`roughfed.config.aggregation`.
"""

from __future__ import annotations

from roughfed.config.aggregation import Optimize
from roughfed.server.optimize.adaptive import OptimizerOptions, OptimizerRule, Stepper
from roughfed.server.optimize.fedadagrad import FEDADAGRAD
from roughfed.server.optimize.fedadam import FEDADAM
from roughfed.server.optimize.fedavgm import FEDAVGM
from roughfed.server.optimize.fedyogi import FEDYOGI
from roughfed.server.optimize.sgd import SGD

RULES: dict[str, OptimizerRule] = {
    "sgd": SGD,
    "fedavgm": FEDAVGM,
    "fedadam": FEDADAM,
    "fedyogi": FEDYOGI,
    "fedadagrad": FEDADAGRAD,
}


def stepper(settings: Optimize) -> Stepper:
    """The rule that the settings name, with its options."""
    s = settings
    return Stepper(s.rule, RULES[s.rule], OptimizerOptions(s.rate, s.momentum, s.beta1, s.beta2, s.tau))
