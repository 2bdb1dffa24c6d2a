"""What cannot stand together about the scores of contributions ([contribution]).

A method sees what the mode shows, evaluates models if the server has whole ones and data, and compares clients if there
is anybody to compare them with.
"""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.contribution import DEFAULT_UTILITY, GAMES, SEES
from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show
from roughfed.secagg.groups import ALONE

METHOD, UTILITY, MODE = "contribution.method", "contribution.utility", "privacy.server_sees"
MOST = 10
"""Clients of which all 2^n coalitions can be evaluated."""

READ_BY = {"budget": ("gtg-shapley", "auto"), "examples": (*GAMES, "auto", "group-regression")}
_SHOWN = {
    "updates": "single updates and no sums of groups",
    "sketches": "a few numbers of each update, of which no model can be made",
    "sums": "sums of groups and nothing of a single client",
}


def scoring_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything of this kind that is wrong."""
    if config.contribution.method == "none":
        yield from _unread(config, ("utility", "every", "budget", "examples"))
        return
    yield from _unread(config, [key for key, methods in READ_BY.items() if config.contribution.method not in methods])
    blind = list(_blind(config))
    yield from blind
    if not blind:
        for question in (_measure, _whole_models, _one_model, _classes, _numbers):
            yield from question(config)


def method_of(config: FederationConfig, *, data: bool) -> str:
    """The method of a run; "" where nothing can be scored.

    Args:
        config: settings without conflicts.
        data: whether the server can evaluate whole models.
    """
    chosen, sees = config.contribution.method, config.privacy.server_sees
    if chosen != "auto":
        return "" if chosen == "none" else chosen
    if config.tiers and config.privacy.masked:
        return ""
    if sees == "sums":
        return "group-regression" if _groups_change(config) and not config.clusters.on else ""
    return "gtg-shapley" if data and sees == "updates" else "cgsv"


def _unread(config: FederationConfig, keys: list[str] | tuple[str, ...]) -> Iterator[Problem]:
    chosen = config.contribution
    for key in keys:
        if key in chosen.model_fields_set:
            now = f"contribution.{key}"
            cause = f"{now} = {show(getattr(chosen, key))} has no effect while {METHOD} = {show(chosen.method)}."
            cure = f'Remove {now}, or write method = "auto" in [contribution].'
            yield conflict(config, (now, METHOD), cause, cure)


def _blind(config: FederationConfig) -> Iterator[Problem]:
    """Scores of what the server does not see."""
    method, sees = config.contribution.method, config.privacy.server_sees
    if method == "auto" or sees in SEES[method]:
        return
    able = [name for name, modes in SEES.items() if sees in modes]
    cause = f"{METHOD} = {show(method)} cannot score by what {MODE} = {show(sees)} shows: {_SHOWN[sees]}."
    modes = " or ".join(map(show, SEES[method]))
    cure = f"Write method = {show(able[-1])} in [contribution], or server_sees = {modes} in [privacy]."
    yield conflict(config, (METHOD, MODE), cause, cure)


def _measure(config: FederationConfig) -> Iterator[Problem]:
    """A worth that is not measured."""
    method, utility, task = config.contribution.method, config.contribution.utility, config.federation.task
    if method == "cgsv" and utility not in ("auto", "cosine"):
        cause = f'{METHOD} = "cgsv" evaluates nothing, and {UTILITY} = {show(utility)} asks for an evaluation.'
        cure = "Remove utility, or write method = "
        able = [name for name in ("gtg-shapley", "group-regression") if config.privacy.server_sees in SEES[name]]
        yield conflict(config, (UTILITY, METHOD), cause, f"{cure}{show(able[0])}." if able else "Remove utility.")
    elif method in GAMES and utility == "cosine":
        cause = f"{METHOD} = {show(method)} evaluates models, and a cosine is no evaluation; it is told anyway."
        cure = f"Remove utility, or write utility = {show(DEFAULT_UTILITY[task])}."
        yield conflict(config, (UTILITY, METHOD), cause, cure)
    elif task == "regression" and utility in ("accuracy", "balanced-accuracy"):
        cause = f'{UTILITY} = {show(utility)} counts answers, and federation.task = "regression" has none to count.'
        yield conflict(config, (UTILITY, "federation.task"), cause, 'Remove utility, or write utility = "loss".')


def _whole_models(config: FederationConfig) -> Iterator[Problem]:
    """Models that the server cannot evaluate."""
    method = config.contribution.method
    if method not in GAMES:
        return
    if config.model.private:
        cause = (
            f"{METHOD} = {show(method)} has the server evaluate models, and model.private = "
            f"{show(config.model.private)} keeps tensors with the clients that it has not got."
        )
        yield conflict(config, (METHOD, "model.private"), cause, 'Write method = "cgsv", or remove model.private.')
    if config.trainer.scaffold:
        cause = (
            f"{METHOD} = {show(method)} makes models of some clients' updates, and scaffold in trainer.method has "
            "control variates in them that belong to all."
        )
        yield conflict(config, (METHOD, "trainer.method"), cause, 'Write method = "cgsv", or leave scaffold out.')


def _one_model(config: FederationConfig) -> Iterator[Problem]:
    """Clusters: the server's data are of one law; and across them nobody can be compared."""
    method = config.contribution.method
    if config.clusters.on and method in (*GAMES, "group-regression"):
        way = f"clusters.method = {show(config.clusters.method)}"
        why = "evaluates models on the server's data, which are of one law" if method in GAMES else "compares all"
        cause = f"{METHOD} = {show(method)} {why}, and {way} has models for clients of several."
        cure = 'Write method = "cgsv", or remove clusters.method.' if method in GAMES else "Remove clusters.method."
        yield conflict(config, (METHOD, "clusters.method"), cause, cure)


def _classes(config: FederationConfig) -> Iterator[Problem]:
    """Rows of other coordinates."""
    method = config.contribution.method
    if config.tiers and config.privacy.masked and method != "auto":
        cause = (
            f"{METHOD} = {show(method)} compares updates behind masks, and clients of other [tiers] send other "
            "coordinates."
        )
        cure = f'Remove {METHOD} or the classes, or write server_sees = "updates" in [privacy].'
        yield conflict(config, (METHOD, "classes"), cause, cure)


def _numbers(config: FederationConfig) -> Iterator[Problem]:
    """Too many clients for all coalitions, or too few for two groups."""
    method, cohort = config.contribution.method, config.round.cohort
    if method == "shapley" and not (isinstance(cohort, int) and 0 < cohort <= MOST):
        cause = (
            f'{METHOD} = "shapley" evaluates 2^n models for a round of n clients, {MOST} at most, and round.cohort = '
            f"{show(cohort)} may have more."
        )
        cure = f'Write method = "gtg-shapley", or a round.cohort from 1 to {MOST}.'
        yield conflict(config, (METHOD, "round.cohort"), cause, cure)
    if method == "group-regression" and not _groups_change(config):
        cause = (
            f'{METHOD} = "group-regression" compares groups, and rounds start with '
            f"{config.round.goal(config.clients_to_start)} clients, of whom up to {ALONE} are one group that never "
            "changes."
        )
        cure = (
            f"Raise round.min_clients (and round.cohort) so that rounds have {ALONE + 1} clients or more, or write "
            f'{MODE} = "sketches" with method = "cgsv".'
        )
        yield conflict(config, (METHOD, "round.min_clients"), cause, cure)


def _groups_change(config: FederationConfig) -> bool:
    return config.round.goal(config.clients_to_start) > ALONE
