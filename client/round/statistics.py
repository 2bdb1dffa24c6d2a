"""What a client promises and gives beside its update: statistics, and the weight class that it counts with."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence

from roughfed.client.context import RoundTask
from roughfed.client.disclosure import limits
from roughfed.client.disclosure.limits import STATIC, times_allowed
from roughfed.crypto.agreement import derive
from roughfed.methods import AUTO, is_personal
from roughfed.secagg import statistics
from roughfed.secagg.adverts import FULL, Gives
from roughfed.secagg.statistics import ACCURACY_BUCKETS, KINDS, Statistic, accuracy_bucket, one_hot
from roughfed.secagg.weight_class import FACT, LOSS_POINTS, drawn, expected, loss_point, read_table
from roughfed.trainer_client import Description
from roughfed.training import FitResult
from roughfed.types import BINS, Evaluation, Evaluations

log = logging.getLogger(__name__)

TRAINED = "trained"

COMPARE_ALONE = "compare_alone"
OF_A_COMPARISON = frozenset({"alone-histogram", "worse-than-alone"})
"""Statistics that a client without a model trained alone has nothing to say to."""

DRAW = b"roughfed weight class v1\0"

Values = dict[str, Sequence[int]]


def promises(task: RoundTask, asked: Sequence[Statistic]) -> Gives:
    """What this client's advert says in a masked round."""
    about, shares = task.ctx.description, task.session.rules.policy.share_statistics
    counted = bool(about.class_counts) or not about.num_classes  # zeros would leave the others' fewer to hide among
    training = trained_names(s.name for s in asked)
    known = bool(training) and set(training) <= set(about.statistics)
    return Gives(
        statics=shares and counted and may_give_statics(task),
        evaluation=shares and task.job.evaluate and about.num_test > 0 and could_compare(task, asked),
        training=shares and known and not used_up(task, training),
        quarters=quarters_of(task),
    )


def may_give_statics(task: RoundTask) -> bool:
    """Whether this client's examples and classes may leave: once a run, and not again while the data are the same."""
    if task.session.disclosed.given_in(STATIC, task.header.run):
        return False
    return limits.may_give_statics(
        task.session.disclosed.given(STATIC), task.ctx.description.num_train, most=task.session.rules.policy.max_counts
    )


def could_compare(task: RoundTask, asked: Sequence[Statistic]) -> bool:
    """Whether this client, with settings of its own perhaps, evaluates all the models that a header asks about."""
    names = {statistic.name for statistic in asked}
    if names & OF_A_COMPARISON and not compares(task.ctx.settings(task.job.trainer)):
        return False
    if "personal-histogram" not in names:
        return True
    return bool(task.session.welcome.private) or personalises(task.ctx.settings(task.job.trainer))


def compares(settings: dict[str, object]) -> bool:
    """Whether the learning settings have the client train a model without the others beside."""
    return settings.get(COMPARE_ALONE) is True


def personalises(settings: dict[str, object]) -> bool:
    """Whether a part of the method makes a model of the client's own."""
    method = settings.get("method")
    return isinstance(method, str) and method != AUTO and is_personal(method)


def promised(letters: str) -> Gives:
    """What was written ahead, by `letters_of`."""
    digits = "".join(letter for letter in letters if letter.isdigit())
    return Gives("s" in letters, "e" in letters, "t" in letters, int(digits or FULL))


def letters_of(gives: Gives) -> str:
    """A promise as it is written ahead."""
    weight = "" if gives.quarters == FULL else str(gives.quarters)
    return "s" * gives.statics + "e" * gives.evaluation + "t" * gives.training + weight


def may_give(name: str, gives: Gives, counts: Gives) -> bool:
    """Whether a statistic leaves: what was promised, where enough others of the group promised it."""
    kind = KINDS[name]
    if kind.training:
        return gives.training and counts.training
    if kind.evaluation:
        return gives.evaluation and counts.evaluation
    return not kind.static or (gives.statics and counts.statics)


def trained_names(names: Iterable[str]) -> tuple[str, ...]:
    """Those that a training works out."""
    return tuple(name for name in names if KINDS[name].training and name != TRAINED)


def asked_of_training(task: RoundTask) -> tuple[str, ...]:
    """What the header asks a training for, as "name:length" (`Turn.wanted`), if this client may tell all of it."""
    named = {text: text.partition(":")[0] for text in task.header.statistics}
    wanted = set(trained_names(name for name in named.values() if name in KINDS))
    if (
        not task.session.rules.policy.share_statistics
        or not wanted <= set(task.ctx.description.statistics)
        or used_up(task, wanted)
    ):
        return ()
    return tuple(text for text, name in named.items() if name in wanted)


def used_up(task: RoundTask, names: Iterable[str]) -> bool:
    """Whether one of them left in as many rounds as it may."""
    rules, this = task.session.rules, (task.header.run, task.header.round)
    return any(
        len(task.session.disclosed.given(name, but=this))
        >= times_allowed(name, most=rules.policy.max_statistics, runs=rules.runs)
        for name in names
    )


async def record_statics(task: RoundTask) -> None:
    """Note that examples and classes leave now."""
    await task.session.disclosed.record_given(
        task.header.run, task.header.round, {STATIC: task.ctx.description.num_train}
    )


async def record_trained(task: RoundTask, names: Iterable[str]) -> None:
    """Note which statistics of the training leave now."""
    await task.session.disclosed.record_given(
        task.header.run, task.header.round, dict.fromkeys(trained_names(names), 1)
    )


def quarters_of(task: RoundTask) -> int:
    """The weight class of this client's update.

    What it found of its own labels up to the round before, where the job lets it say so; or, masked and where fairness
    asks for it, what its losses up to then stand for. The two never come together.

    Raises:
        RemoteProtocolError: the job's table of weight classes is none.
    """
    if task.job.trainer.get("self_weight") is True:
        return task.ctx.store.quarters(task.header.run, before=task.header.round)
    return fair_quarters(task)


def fair_quarters(task: RoundTask) -> int:
    """This round's class, 1 to 4; the same after a restart.

    A client that keeps its statistics to itself draws as one at the typical loss does.

    Raises:
        RemoteProtocolError: the table that came with the job is none.
    """
    if not task.header.masked or FACT not in task.job.facts:
        return FULL
    table = read_table(task.job.facts[FACT])
    losses = (
        task.ctx.store.losses(task.header.run, before=task.header.round)
        if task.session.rules.policy.share_statistics
        else {}
    )
    secret = derive(task.session.credentials.identity.private_bytes(), DRAW, task.job.header.digest)
    return drawn(expected(table, losses), secret)


async def record_weight(task: RoundTask, result: FitResult) -> None:
    """Note what a training found about its own data; it counts from the next round on."""
    quarters = min(max(math.ceil(result.weight * FULL), 1), FULL) if math.isfinite(result.weight) else FULL
    await task.ctx.store.record_quarters(task.header.run, task.header.round, quarters)


async def record_loss(task: RoundTask, found: Evaluation | None) -> None:
    """Note the loss under this round's base model: later weight classes go by it. One that is no number is none."""
    if task.header.masked and found is not None and (loss := found.loss) is not None and math.isfinite(loss):
        await task.ctx.store.record_loss(task.header.run, task.header.round, loss)


def client_values(description: Description, found: Evaluations, result: FitResult) -> Values:
    """This client's statistics, all that it could give."""
    evaluation = found.base or result.evaluation
    counts = description.class_counts or result.class_counts
    values: Values = {"examples": (result.num_examples,), "class-count": counts}
    values["class-owner"] = tuple(int(count > 0) for count in counts)
    if evaluation is None or not evaluation.num_examples:
        return values
    loss = evaluation.loss or 0.0
    bounded = min(max(loss, 0.0), 1e6) if math.isfinite(loss) else 1e6  # a model that diverged has the largest loss
    values["evaluated"] = (1,)
    values["eval-loss"] = (int(bounded / statistics.LOSS_UNIT),)
    values["eval-loss-histogram"] = one_hot(loss_point(loss), LOSS_POINTS)
    values["eval-count"], values["eval-correct"] = evaluation.class_count, evaluation.class_correct
    values["confusion"] = evaluation.confusion
    values["calibration"], values["confidence"] = evaluation.calibration[: 2 * BINS], evaluation.calibration[2 * BINS :]
    return values | _compared(found)


def _compared(found: Evaluations) -> Values:
    """The accuracies of the models that this client could use, each in its bucket; whether it were better off alone.

    A client that evaluates gives all of them that it was asked for, or others would hide among fewer than they think.
    """
    named = {"accuracy-histogram": found.base, "personal-histogram": found.personal, "alone-histogram": found.alone}
    shares = {name: e.accuracy for name, e in named.items() if e is not None}
    known = {name: share for name, share in shares.items() if share is not None}
    values: Values = {name: one_hot(accuracy_bucket(share), ACCURACY_BUCKETS) for name, share in known.items()}
    if (alone := known.pop("alone-histogram", None)) is not None and known:
        values["worse-than-alone"] = (int(max(known.values()) < alone), 1)
    return values


def trained_values(result: FitResult, wanted: Sequence[str]) -> Values:
    """What the training worked out, of what was wanted ("name:length"): all of it, with a 1 for "trained", or nothing.

    A part of it alone would be a lie: who gives is counted once for all.
    """
    if not wanted:
        return {}
    lengths = {name: int(length) for name, _, length in (text.partition(":") for text in wanted)}
    found = {name: tuple(values) for name, values in result.statistics.items() if name in lengths}
    if {name: len(values) for name, values in found.items()} != lengths:
        log.warning("the training did not work out all of %s; none of it is told", ", ".join(lengths))
        return {}
    return {TRAINED: (1,), **found}


def clear_values(task: RoundTask, values: Values) -> Mapping[str, tuple[int, ...]]:
    """What goes into the statement of an update that is not masked: what the header asks for, cut to its bounds."""
    if not task.session.rules.policy.share_statistics:
        return {}
    lengths = {name: int(length) for name, _, length in (text.partition(":") for text in task.header.statistics)}
    return {
        name: tuple(min(max(int(value), 0), KINDS[name].largest) for value in values[name])
        for name, length in lengths.items()
        if len(values.get(name, ())) == length
    }
