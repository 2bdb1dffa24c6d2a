"""Fine-tuning: the common model, and some epochs of local training before it is used (Wang et al., 2019, section 3).

K. Wang et al., "Federated Evaluation of On-device Personalization", https://arxiv.org/abs/1910.10252. The training is
the method's own without its control variates, on a copy: nothing of it is sent, and nothing is kept for the next round.
Schedules take it as a run of one round, so the learning rate begins as at the start of the run.
"""

from __future__ import annotations

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def fine_tune(options: Options, _context: Context, _plan: Plan) -> Hooks:
    """The part; the training itself is `client/trainer/training/own_models.py`'s."""
    epochs = int(options["epochs"])
    return Hooks(use=lambda: epochs)
