"""What cannot stand beside SCAFFOLD's control variates (`trainer.method`), or beside private tensors (`model.private`).

Control variates are sums over all that was ever accepted: whatever keeps a part of an update from being said, or makes
something else of the accepted ones than their mean, would stay in them for good.
"""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show

METHOD = "trainer.method"
PRIVATE = "model.private"


def sharing_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything that does not fit what travels."""
    if config.trainer.scaffold:
        yield from _training(config)
        yield from _sums(config)
    if config.model.private and (how := config.trainer.calibrate) != "none":
        cause = (
            f"trainer.calibrate = {show(how)} finishes one classifier for all, and {PRIVATE} = "
            f"{show(config.model.private)} keeps tensors with the clients that the server has not got."
        )
        yield conflict(config, ("trainer.calibrate", PRIVATE), cause, "Remove trainer.calibrate, or model.private.")


def _training(config: FederationConfig) -> Iterator[Problem]:
    t = config.trainer
    if t.optimizer != "sgd":
        cause = (
            f"scaffold in {METHOD} takes a client's drift off its gradients, and trainer.optimizer = "
            f"{show(t.optimizer)} divides by their size what is left."
        )
        yield conflict(config, (METHOD, "trainer.optimizer"), cause, 'Write optimizer = "sgd" in [trainer].')
    if t.self_weight:
        cause = f"trainer.self_weight = true weighs clients, and scaffold in {METHOD} needs all of them alike."
        cure = "Remove trainer.self_weight, or scaffold from trainer.method."
        yield conflict(config, ("trainer.self_weight", METHOD), cause, cure)


def _sums(config: FederationConfig) -> Iterator[Problem]:
    if config.aggregate.weighting == "examples":
        cause = f'aggregate.weighting = "examples" weighs clients, and scaffold in {METHOD} needs all of them alike.'
        cure = 'Write weighting = "auto" in [aggregate], or leave scaffold out.'
        yield conflict(config, ("aggregate.weighting", METHOD), cause, cure)
    for key, sparse in (("name", config.codec.name == "top-k"), ("fraction", config.codec.fraction < 1)):
        if sparse:
            cause = (
                f"codec.{key} = {show(getattr(config.codec, key))} says most of an update rounds later, and clients go "
                f"by what scaffold in {METHOD} has already put into the sum."
            )
            cure = f"Remove codec.{key}, or leave scaffold out."
            yield conflict(config, (f"codec.{key}", METHOD), cause, cure)
