"""What cannot stand beside clusters: whatever goes by one model, or by updates that no cluster's server has."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.clusters import OF_METHOD, SMALLEST_MASKED
from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show

METHOD = "clusters.method"


def cluster_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything that does not fit several models."""
    yield from _unread(config)
    if config.clusters.on:
        yield from _one_model(config)
        yield from _own_data(config)
        yield from _numbers(config)
        yield from _choice(config)
        yield from _angles(config)


def _unread(config: FederationConfig) -> Iterator[Problem]:
    chosen = config.clusters
    for method, keys in OF_METHOD.items():
        for key in keys:
            if key in chosen.model_fields_set and chosen.method != method:
                cause = (
                    f"clusters.{key} = {show(getattr(chosen, key))} has no effect while {METHOD} = "
                    f"{show(chosen.method)}."
                )
                cure = f"Remove clusters.{key}, or write method = {show(method)} in [clusters]."
                yield conflict(config, (f"clusters.{key}", METHOD), cause, cure)
    if not chosen.on and "smallest" in chosen.model_fields_set:
        cause = f'clusters.smallest = {chosen.smallest} has no effect while {METHOD} = "none".'
        yield conflict(
            config, ("clusters.smallest", METHOD), cause, 'Remove it, or write method = "cfl" or "ifca" in [clusters].'
        )


def _one_model(config: FederationConfig) -> Iterator[Problem]:
    way = f"{METHOD} = {show(config.clusters.method)}"
    if config.trainer.scaffold:
        cause = (
            f"scaffold in trainer.method keeps control variates that follow one model, and with {way} a client's "
            "model changes under them."
        )
        yield conflict(
            config, ("trainer.method", METHOD), cause, 'Leave scaffold out, or write method = "none" in [clusters].'
        )
    if (how := config.trainer.calibrate) != "none":
        cause = f"trainer.calibrate = {show(how)} finishes one model from sums over all clients, and {way} has several."
        yield conflict(
            config,
            ("trainer.calibrate", METHOD),
            cause,
            'Remove trainer.calibrate, or write method = "none" in [clusters].',
        )
    if config.round.early_stop_rounds:
        cause = (
            f"round.early_stop_rounds = {config.round.early_stop_rounds} goes by the figures of one model, and {way} "
            "has several, which are at their best in different rounds."
        )
        yield conflict(
            config,
            ("round.early_stop_rounds", METHOD),
            cause,
            "Set round.early_stop_rounds to 0; the best version of each cluster is kept (model.keep_best).",
        )


def _own_data(config: FederationConfig) -> Iterator[Problem]:
    """What goes by the server's own data."""
    way = f"{METHOD} = {show(config.clusters.method)}"
    if config.defence.root:
        cause = (
            f"defence.root = {config.defence.root} holds updates against one of the server's own examples, which are "
            f"of one law, and {way} is for clients of several: all clusters but one would look hostile."
        )
        cure = "Remove defence.root, and choose a rule that does without."
        yield conflict(config, ("defence.root", METHOD), cause, cure)


def _numbers(config: FederationConfig) -> Iterator[Problem]:
    least, masked = config.clusters.least(masked=config.privacy.masked), config.privacy.masked
    if masked and least < SMALLEST_MASKED:
        cause = (
            f"clusters.smallest = {least} would have rounds whose sums hide {least} clients, and groups have "
            f"{SMALLEST_MASKED} or more."
        )
        yield conflict(
            config, ("clusters.smallest", "privacy.server_sees"), cause, f"Write {SMALLEST_MASKED} or more, or 0."
        )
    quorum = config.round.quorum
    if isinstance(quorum, int) and quorum > least:
        cause = (
            f"round.quorum = {quorum} is more than the {least} members that a cluster may have (clusters.smallest): "
            "its rounds would never count."
        )
        yield conflict(
            config,
            ("round.quorum", "clusters.smallest"),
            cause,
            f"Write the quorum as a fraction such as 0.8, or raise clusters.smallest to {quorum}.",
        )


def _choice(config: FederationConfig) -> Iterator[Problem]:
    if config.clusters.method == "ifca" and config.model.adapters:
        cause = (
            f'{METHOD} = "ifca" has clients choose among models, and with model.adapters = {config.model.adapters} all '
            "of them are the frozen one until adapters have learnt something."
        )
        yield conflict(
            config, (METHOD, "model.adapters"), cause, 'Write method = "cfl" in [clusters], or remove model.adapters.'
        )


def _angles(config: FederationConfig) -> Iterator[Problem]:
    sees = config.privacy.server_sees
    if config.clusters.method == "cfl" and sees == "sums":
        cause = (
            f'{METHOD} = "cfl" goes by the angles of the clients\' updates, and privacy.server_sees = "sums" shows '
            "none."
        )
        yield conflict(
            config,
            (METHOD, "privacy.server_sees"),
            cause,
            'Write server_sees = "sketches" in [privacy], or method = "ifca" in [clusters].',
        )
    if config.clusters.method == "cfl" and config.tiers:
        cause = (
            f'{METHOD} = "cfl" goes by the angles between the updates of all clients, and those of different tiers '
            f"([tiers.{min(config.tiers)}]) are of different coordinates."
        )
        yield conflict(
            config, (METHOD, "classes"), cause, 'Write method = "ifca" in [clusters], or remove the classes.'
        )
    if config.clusters.method == "cfl" and sees == "updates" and config.codec.name == "top-k":
        cause = (
            'codec.name = "top-k" sends different coordinates of each client, so that angles say little, and '
            f'{METHOD} = "cfl" goes by them.'
        )
        yield conflict(config, (METHOD, "codec.name"), cause, 'Write name = "auto" in [codec].')
