"""What cannot stand beside `defence.rollback`: the server judges one whole model, and takes a step back alone."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show

KEY = "defence.rollback"


def rollback_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything of this kind that is wrong."""
    if not (allowed := config.defence.rollback):
        return
    mine = f"{KEY} = {show(allowed)}"
    if config.model.private:
        cause = f"{mine} has the server evaluate the whole model, and tensors of model.private stay with the clients."
        yield conflict(config, (KEY, "model.private"), cause, f"Remove {KEY}, or model.private.")
    if config.clusters.on:
        several = f"clusters.method = {show(config.clusters.method)}"
        cause = f"{mine} judges one model on the server's own data, and {several} makes several."
        yield conflict(config, (KEY, "clusters.method"), cause, f"Remove {KEY}, or [clusters].")
    if config.trainer.scaffold:
        cause = f"{mine} takes back what the control variates of scaffold (trainer.method) have followed."
        yield conflict(config, (KEY, "trainer.method"), cause, f"Remove {KEY}, or scaffold from trainer.method.")
