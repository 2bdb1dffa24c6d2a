"""Settings that are fine alone and impossible together. Each refusal names both keys and a way out."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.client import ClientConfig
from roughfed.config.conflicts.clusters import cluster_conflicts
from roughfed.config.conflicts.contribution import scoring_conflicts
from roughfed.config.conflicts.modes import mode_conflicts
from roughfed.config.conflicts.optimizer import optimizer_conflicts, scaling_conflicts
from roughfed.config.conflicts.rewards import reward_conflicts
from roughfed.config.conflicts.rollback import rollback_conflicts
from roughfed.config.conflicts.rough_data import rough_conflicts
from roughfed.config.conflicts.tensors import sharing_conflicts
from roughfed.config.fairness import fairness_conflicts
from roughfed.config.federation import FederationConfig
from roughfed.config.frozen import frozen_conflicts
from roughfed.config.problems import Problem, conflict, refusal
from roughfed.config.tiers import tier_conflicts
from roughfed.config.values import show
from roughfed.methods import AUTO, PARTS, Chosen, read_method


def check_federation(config: FederationConfig) -> None:
    """Refuse what cannot work, before a server starts.

    Raises:
        SettingsRefused: lists every conflict, under the key that was set (both keys are named in the cause).
    """
    _raise(federation_conflicts(config))


def federation_conflicts(config: FederationConfig) -> list[Problem]:
    """Everything of this kind that is wrong."""
    found = (
        _round_conflicts,
        _port_conflicts,
        _model_conflicts,
        _task_conflicts,
        _prior_conflicts,
        _calibration_conflicts,
        optimizer_conflicts,
        scaling_conflicts,
        sharing_conflicts,
        fairness_conflicts,
        frozen_conflicts,
        mode_conflicts,
        reward_conflicts,
        rollback_conflicts,
        scoring_conflicts,
        cluster_conflicts,
        tier_conflicts,
    )
    return [problem for conflicts in found for problem in conflicts(config)]


def check_client(config: ClientConfig) -> None:
    """Refuse what cannot work, before a client starts.

    Raises:
        SettingsRefused: lists every conflict.
    """
    found = (
        _source_conflicts,
        _share_conflicts,
        rough_conflicts,
        _learning_conflicts,
        _hours_conflicts,
        _peer_conflicts,
    )
    _raise([problem for conflicts in found for problem in conflicts(config)])


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise refusal(problems)


def _round_conflicts(config: FederationConfig) -> Iterator[Problem]:
    r = config.round
    whole_quorum = r.quorum if isinstance(r.quorum, int) else 0
    if isinstance(r.cohort, int) and 0 < r.cohort < whole_quorum:
        cause = f"round.quorum = {r.quorum} is more than round.cohort = {r.cohort}: no round could ever count."
        cure = f"Raise round.cohort to {r.quorum}, or write the quorum as a fraction such as 0.8."
        yield conflict(config, ("round.quorum", "round.cohort"), cause, cure)
    if r.min_clients < whole_quorum:
        cause = (
            f"round.min_clients = {r.min_clients} is less than round.quorum = {r.quorum}: rounds would start and fail."
        )
        cure = f"Raise round.min_clients to {r.quorum}, or write the quorum as a fraction such as 0.8."
        yield conflict(config, ("round.min_clients", "round.quorum"), cause, cure)
    if 0 < r.patience < 1:
        cause = f"round.patience = {show(r.patience)} would end a round before its quorum is there."
        cure = "Write 1.0 or more, such as 1.25, or 0 to wait until the deadline."
        yield conflict(config, ("round.patience",), cause, cure)
    if isinstance(r.quorum, float) and r.quorum >= 1 and r.patience and "patience" in r.model_fields_set:
        cause = f"round.patience = {show(r.patience)} has no effect while round.quorum = 1.0 needs every client."
        cure = "Remove round.patience, or lower round.quorum."
        yield conflict(config, ("round.patience", "round.quorum"), cause, cure)
    if r.over_select > 1 and not r.cohort:
        cause = (
            f"round.over_select = {show(r.over_select)} has nobody to add while round.cohort = 0 takes every client."
        )
        cure = "Set round.cohort to a number or a fraction of the clients, or remove round.over_select."
        yield conflict(config, ("round.over_select", "round.cohort"), cause, cure)
    if r.early_stop_rounds and not r.evaluate_every:
        cause = (
            f"round.early_stop_rounds = {r.early_stop_rounds} has nothing to judge by while round.evaluate_every = 0."
        )
        cure = "Set round.evaluate_every to 1, or round.early_stop_rounds to 0."
        yield conflict(config, ("round.early_stop_rounds", "round.evaluate_every"), cause, cure)


def _port_conflicts(config: FederationConfig) -> Iterator[Problem]:
    s = config.server
    ports = {"server.port": s.port, "server.enrol_port": s.enrol_port}
    if s.http:
        ports["server.http_port"] = s.http_port
    named = list(ports.items())
    for at, (second, port) in enumerate(named):
        first = next((key for key, other in named[:at] if other == port != 0), "")
        if first:
            cause = f"{first} and {second} are both {port}."
            yield conflict(config, (second, first), cause, "Give each its own port, or 0 for any free one.")


def _model_conflicts(config: FederationConfig) -> Iterator[Problem]:
    m, keys = config.model, ("model.app", "model.name")
    if m.app and m.name:
        cause = f"model.app = {show(m.app)} and model.name = {show(m.name)} name two models."
        yield conflict(config, keys, cause, "Keep model.app for the own model, or model.name for the listed one.")
    if not m.app and not m.name and not m.init:
        cause = "Neither model.app nor model.name says what to train."
        yield conflict(config, keys, cause, 'Write app = "my.py:client", or name = "mlp" with data.name, in [model].')
    if m.file_alone:
        yield from _without_worker(config)
    if m.app and m.experts > 1:
        yield from _experts_of_an_app(config, m.experts, ("model.experts", "model.app"), m.app)
    if m.name and not m.app and not config.data.name:
        cause = f"model.name = {show(m.name)} takes its shapes from the data, and data.name is empty."
        yield conflict(config, ("model.name", "data.name"), cause, 'Write name = "digits" in [data], or use model.app.')


def _without_worker(config: FederationConfig) -> Iterator[Problem]:
    """A server that has the model's file and no program of it evaluates and trains nothing itself."""
    why = "model.init alone says what to train, so the server has no program of the model"
    way = "name the model, too: model.app, or model.name with data.name (the server then needs torch)."
    if config.data.name:
        cause = f"data.name = {show(config.data.name)} would have no effect: {why}."
        yield conflict(config, ("data.name", "model.init"), cause, f"Remove it, or {way}")
    if config.trainer.calibrate != "none":
        cause = f"trainer.calibrate = {show(config.trainer.calibrate)} finishes the model at the server: {why}."
        yield conflict(config, ("trainer.calibrate", "model.init"), cause, f"Remove it, or {way}")
    if config.model.experts > 1:
        cause = f"model.experts = {config.model.experts} would have no effect: {why}."
        yield conflict(config, ("model.experts", "model.init"), cause, "Remove it: the file's model has its own heads.")


def _experts_of_an_app(
    config: FederationConfig | ClientConfig, experts: int, keys: tuple[str, str], app: str
) -> Iterator[Problem]:
    cause = f"{keys[0]} = {experts} is for listed models, and {keys[1]} = {show(app)} brings its own."
    yield conflict(config, keys, cause, f"Remove {keys[0]}, and give the own model its heads itself.")


def _task_conflicts(config: FederationConfig) -> Iterator[Problem]:
    task, method = config.federation.task, config.trainer.method
    if (task == "regression") != (method == "mse") and method != "plain":
        cause = f"trainer.method = {show(method)} does not fit federation.task = {show(task)}."
        yield conflict(config, ("trainer.method", "federation.task"), cause, 'Write method = "plain" in [trainer].')
    if config.data.name and task == "regression":
        cause = f"data.name = {show(config.data.name)} has classes and federation.task = {show(task)}."
        cure = 'Write task = "classification" in [federation], or use model.app with own data.'
        yield conflict(config, ("federation.task", "data.name"), cause, cure)


def _prior_conflicts(config: FederationConfig) -> Iterator[Problem]:
    t = config.trainer
    if t.prior == "global" and not goes_by_shares(t.method):
        cause = (
            f'trainer.prior = "global" has clients tell their class counts, and no part of trainer.method = '
            f"{show(t.method)} goes by class shares."
        )
        cure = "Remove trainer.prior, or add a part such as balanced-softmax to trainer.method."
        yield conflict(config, ("trainer.prior", "trainer.method"), cause, cure)


def goes_by_shares(method: str) -> bool:
    """Whether a part of a method goes by the shares of the classes; with `auto` one may."""
    return method == AUTO or any(part.row.by_shares for part in read_method(method).parts)


def _calibration_conflicts(config: FederationConfig) -> Iterator[Problem]:
    method, how = config.trainer.method, config.trainer.calibrate
    keys = ("trainer.calibrate", "trainer.method")
    if how != "none" and config.federation.task == "regression":
        cause = f'trainer.calibrate = {show(how)} makes a classifier, and federation.task = "regression" has none.'
        yield conflict(config, ("trainer.calibrate", "federation.task"), cause, "Remove trainer.calibrate.")
    if how == "ccvr" and config.round.early_stop_rounds:
        cause = (
            f'trainer.calibrate = "ccvr" takes its sums in round {config.round.rounds}, the last one, and '
            f"round.early_stop_rounds = {config.round.early_stop_rounds} may end the run before it."
        )
        cure = "Set round.early_stop_rounds to 0, or trainer.calibrate to another way."
        yield conflict(config, ("trainer.calibrate", "round.early_stop_rounds"), cause, cure)
    if how != "post-hoc" or method == AUTO:
        return
    for part in read_method(method).parts:
        if _adjusts(part):
            cause = (
                f"trainer.calibrate = {show(how)} adjusts for the class shares after the training, and {part.name} of "
                "trainer.method does in it: it must be done once."
            )
            yield conflict(config, keys, cause, f"Remove {part.name} from trainer.method, or trainer.calibrate.")


ADJUSTING = frozenset({"balanced-softmax", "logit-adjustment"})
"""Parts that adjust for the class shares. Others that balance the classes are those that cannot stand beside them."""


def _adjusts(part: Chosen) -> bool:
    if part.name in ADJUSTING or part.row.room == "loss":
        return part.name in ADJUSTING
    rivals = (PARTS[name].excludes for name in ADJUSTING)
    return bool(ADJUSTING & part.row.excludes.keys()) or any({part.name, part.row.room} & r.keys() for r in rivals)


def _source_conflicts(config: ClientConfig) -> Iterator[Problem]:
    app, model, data = config.app.path, config.model.name, config.data.name
    listed = "model.name" if model else "data.name"
    if app and (model or data):
        cause = (
            f"app.path = {show(app)} brings its own model and data, and {listed} = {show(model or data)} is set too."
        )
        yield conflict(config, (listed, "app.path"), cause, f"Remove {listed}, or remove app.path.")
    if app and config.model.experts > 1:
        yield from _experts_of_an_app(config, config.model.experts, ("model.experts", "app.path"), app)
    if not app and not model:
        cause = "Neither app.path nor model.name says what to train."
        cure = 'Write path = "my.py:client" in [app], or name = "mlp" in [model] with data.name.'
        yield conflict(config, ("app.path", "model.name"), cause, cure)
    if not app and model and not data:
        cause = f"model.name = {show(model)} is a listed model and data.name is empty, so it has no data."
        yield conflict(config, ("model.name", "data.name"), cause, 'Write name = "digits" in [data], or use app.path.')


def _share_conflicts(config: ClientConfig) -> Iterator[Problem]:
    data = config.data
    if data.index >= data.clients:
        cause = f"data.index = {data.index} is not below data.clients = {data.clients}: there is no such part."
        yield conflict(config, ("data.index", "data.clients"), cause, f"Write an index from 0 to {data.clients - 1}.")
    if data.partition in ("iid", "shards") and "alpha" in data.model_fields_set:
        cause = f"data.alpha = {show(data.alpha)} has no effect while data.partition = {show(data.partition)}."
        cure = 'Write partition = "dirichlet" or "quantity-skew", or remove alpha.'
        yield conflict(config, ("data.alpha", "data.partition"), cause, cure)


def _learning_conflicts(config: ClientConfig) -> Iterator[Problem]:
    mine = config.trainer
    if not mine.local and (given := sorted(mine.model_fields_set - {"local"})):
        key = f"trainer.{given[0]}"
        cause = f"{key} is set and trainer.local = false: the server's value would win."
        yield conflict(config, (key,), cause, f"Write local = true in [trainer], or remove {', '.join(given)}.")


def _peer_conflicts(config: ClientConfig) -> Iterator[Problem]:
    policy = config.policy
    if policy.min_known_peers and not policy.known_peers:
        cause = f"policy.min_known_peers = {policy.min_known_peers}, and policy.known_peers names nobody."
        cure = "Write known_peers with fingerprints (roughfed roster show) or organisations, or remove min_known_peers."
        yield conflict(config, ("policy.min_known_peers",), cause, cure)
    if policy.known_peers and not policy.min_known_peers:
        cause = "policy.known_peers has no effect while policy.min_known_peers = 0."
        yield conflict(config, ("policy.known_peers",), cause, "Set min_known_peers, or remove known_peers.")


def _hours_conflicts(config: ClientConfig) -> Iterator[Problem]:
    mine = config.participate
    for key in ("timezone", "overrun"):
        if key in mine.model_fields_set and not mine.windows:
            cause = f"participate.{key} = {show(getattr(mine, key))} has no effect without participate.windows."
            yield conflict(config, (f"participate.{key}",), cause, f"Remove {key}, or write windows in [participate].")
