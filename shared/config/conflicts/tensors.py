"""What cannot stand beside SCAFFOLD's control variates (`trainer.method`), private tensors or models of one's own.

Control variates are sums over all that was ever accepted: whatever keeps a part of an update from being said, or makes
something else of the accepted ones than their mean, would stay in them for good.
"""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show
from roughfed.methods import AUTO, read_method

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
    yield from _own_models(config)


def _own_models(config: FederationConfig) -> Iterator[Problem]:
    t = config.trainer
    parts = () if t.method == AUTO else read_method(t.method).parts
    for part in (part for part in parts if part.name == "fedrep"):
        if not config.model.private:
            cause = f"fedrep in {METHOD} trains the tensors that stay with each client, and {PRIVATE} names none."
            cure = 'Name the head in [model], for example private = ["fc2.*"].'
            yield conflict(config, (METHOD, PRIVATE), cause, cure)
        if t.epochs <= int(part.options["head"]):
            cause = (
                f"{part} in {METHOD} trains the private tensors for {part.options['head']} epochs, and trainer.epochs "
                f"= {t.epochs} leaves none for the shared ones."
            )
            yield conflict(config, ("trainer.epochs", METHOD), cause, "Raise trainer.epochs above that.")
    if t.compare_alone and not config.round.evaluate_every:
        cause = (
            "trainer.compare_alone = true trains a second model to be compared, and round.evaluate_every = 0 never "
            "evaluates one."
        )
        cure = "Set round.evaluate_every, or remove trainer.compare_alone."
        yield conflict(config, ("trainer.compare_alone", "round.evaluate_every"), cause, cure)


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
