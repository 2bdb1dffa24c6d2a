"""What a run leaves behind for people to read: plain values, written as JSON, drawn by `roughfed.report.html`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from roughfed.errors import ConfigError
from roughfed.measures import TaskMatrix, class_incremental, mean, shots_by_rank
from roughfed.report.heterogeneity.parts import Heterogeneity


@dataclass(frozen=True)
class GroupSummary:
    """A group of a masked round.

    Attributes:
        members: names.
        void: why it gave no sum, in words; empty: it gave one.
    """

    members: list[str]
    void: str = ""


@dataclass(frozen=True)
class Together:
    """What clients found about one version on their held-out data, added up behind masks: nobody's alone is known.

    Attributes:
        accuracy: over all their examples, 0..1.
        balanced_accuracy: mean recall over classes, 0..1.
        class_accuracy: recall by class, 0..1; None for a class without examples.
        histogram: clients by their own accuracy, in buckets of equal width from 0 to 1.
        personal_histogram: likewise, by the accuracy of their personal models.
        alone_histogram: likewise, by that of models which they trained by themselves.
    """

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    class_accuracy: list[float | None] | None = None
    histogram: list[int] = field(default_factory=list[int])
    personal_histogram: list[int] = field(default_factory=list[int])
    alone_histogram: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class DefenceSummary:
    """What the defence found in one round.

    Attributes:
        rule: its name.
        f: attackers that it was to hold against.
        judged: rows that it saw: clients, or groups of them.
        scores: the figures that it went by, by row; larger is more suspicious.
        excluded: row -> reason, of those that it left out.
        weights: what it gave each row, where it gives weights; empty where it chooses.
        suspects: rows with evidence against them, left out or not.
    """

    rule: str
    f: int
    judged: int
    scores: dict[str, float] = field(default_factory=dict[str, float])
    excluded: dict[str, str] = field(default_factory=dict[str, str])
    weights: dict[str, float] = field(default_factory=dict[str, float])
    suspects: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class RoundSummary:
    """One round. A value that was not measured is None.

    Attributes:
        round: number of the round, from 1 on.
        version: model version after it.
        outcome: "committed", or why it was not, in kebab-case ("void").
        reason: why it was not, in words; empty where it was.
        seconds: wall time of the round.
        phase_seconds: wall time by phase, in order.
        participants: names of the clients that were asked.
        accepted: names whose update is in the sum.
        excluded: (name, reason) of updates that arrived and were left out.
        dropped: names that sent no update in time.
        gone: those of them whose connection had ended.
        upload_bytes: bytes from all clients together, payload and framing.
        download_bytes: bytes to all clients together.
        accuracy: of the new model, 0..1.
        balanced_accuracy: mean recall over classes, 0..1.
        loss: mean loss.
        class_accuracy: recall by class, 0..1; None for a class without examples.
        worst_class: the smallest of them.
        macro_f1: mean F1 over the classes, 0..1.
        head_accuracy: mean recall of the classes with most training examples (`roughfed.measures.shots_by_rank`), 0..1.
        medium_accuracy: likewise, of those in between.
        tail_accuracy: likewise, of those with fewest.
        calibration_error: mean distance of confidence and accuracy, 0..1.
        confusion: examples by true class and predicted class, [C][C]; empty where it was not counted.
        calibration: see `roughfed.types.Evaluation`; empty where it was not counted.
        attack_success: of the test examples that an attack with a goal is about (those with its trigger, those of its
            class), the share that the model takes for what the attacker wants; known only where somebody knows it.
        memorised_wrong: of the training examples with wrong labels, the share whose wrong label the model repeats;
            known only where somebody knows the right ones.
        client_accuracy: accuracy on each client's own held-out data, 0..1, by name; empty when masked.
        client_personal: likewise, of the client's personal model.
        client_alone: likewise, of a model that the client trained by itself.
        together: the same as sums; None where nothing is masked, or nobody measured.
        groups: who was added up with whom; empty where nothing is masked.
        clip_norm: C, by which updates were cut (`roughfed.codec.clip_schedule`); None where nothing is masked.
        defence: what the defence found; None where it was not asked.
        train_seconds: mean time of the clients' local training.
        train_metrics: means of what their training reports, by name, for example the training loss.
        heterogeneity: accuracy over clients, clusters, tiers, fairness, contribution, as far as known.
    """

    round: int
    version: int
    outcome: str = "committed"
    reason: str = ""
    seconds: float = 0.0
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    participants: list[str] = field(default_factory=list[str])
    accepted: list[str] = field(default_factory=list[str])
    excluded: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    dropped: list[str] = field(default_factory=list[str])
    gone: list[str] = field(default_factory=list[str])
    upload_bytes: int = 0
    download_bytes: int = 0
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    loss: float | None = None
    class_accuracy: list[float | None] | None = None
    worst_class: float | None = None
    macro_f1: float | None = None
    head_accuracy: float | None = None
    medium_accuracy: float | None = None
    tail_accuracy: float | None = None
    calibration_error: float | None = None
    confusion: list[list[int]] = field(default_factory=list[list[int]])
    calibration: list[int] = field(default_factory=list[int])
    attack_success: float | None = None
    memorised_wrong: float | None = None
    client_accuracy: dict[str, float] = field(default_factory=dict[str, float])
    client_personal: dict[str, float] = field(default_factory=dict[str, float])
    client_alone: dict[str, float] = field(default_factory=dict[str, float])
    together: Together | None = None
    groups: list[GroupSummary] = field(default_factory=list[GroupSummary])
    clip_norm: float | None = None
    defence: DefenceSummary | None = None
    train_seconds: float | None = None
    train_metrics: dict[str, float] = field(default_factory=dict[str, float])
    heterogeneity: Heterogeneity = field(default_factory=Heterogeneity)


@dataclass(frozen=True)
class Proof:
    """A client that is proved to have broken the protocol: by what it signed itself."""

    client: str
    round: int
    reason: str


@dataclass(frozen=True)
class StartSummary:
    """One start of the server on this run.

    Attributes:
        at: ISO 8601.
        software: version of roughfed.
        round: the last round that was opened before it; 0: none.
        changed: (dotted setting, value at the start before, value now), where they differ.
        ended: why this process ended; empty: it runs, was killed, or failed.
    """

    at: str
    software: str
    round: int
    changed: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    ended: str = ""


@dataclass(frozen=True)
class TaskSpan:
    """One task of a run whose data come in tasks.

    Attributes:
        classes: that it brings.
        last_round: after which the next task begins.
    """

    classes: list[int]
    last_round: int


@dataclass(frozen=True)
class CalibratedSummary:
    """A model that the server finished from sums over the clients (`trainer.calibrate`).

    Attributes:
        how: ccvr, creff or post-hoc.
        version: that it was made of.
        model_digest: BLAKE3 of its parameters, hexadecimal.
        accuracy: on the server's own data, 0..1; None without; the others likewise.
        balanced_accuracy: mean recall over classes.
        worst_class: lowest recall of a class.
        head: mean recall of the head classes.
        medium: of the medium ones.
        tail: of the tail ones.
    """

    how: str
    version: int
    model_digest: str
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    worst_class: float | None = None
    head: float | None = None
    medium: float | None = None
    tail: float | None = None


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        run: its id.
        scenario: kebab-case name.
        server_sees: "updates", "sketches" or "sums".
        clients: number of clients.
        parameters: D.
        float32_bytes: 4 D.
        rounds: in order.
        holdings: examples by client and class, [K][C]; None when the division is not known.
        client_names: K names, in the order of `holdings`.
        class_names: C names; empty: the classes are numbered.
        class_prior: training examples by class of all clients that gave their counts, each once.
        client_class_accuracy: recall by class on each client's own held-out data, last measured; empty when masked.
        tasks: in order; empty where all classes are there from the start.
        untrained: recall by class of the first model; empty where it was not measured.
        attack: what the hostile clients did; empty: nobody is known to be hostile.
        hostile: their names, where somebody knows them.
        proofs: who is out, and why; by round.
        suspended: clients that were silent too often, with what was noted.
        sketch_dim: numbers that the server saw of each update; 0: none.
        config: the effective settings, nested; those of the last start.
        starts: of the server, in order; empty where they were not noted.
        model_digest: BLAKE3 of the final parameters, hexadecimal.
        started_at: ISO 8601.
        calibrated: what the model is after the server finished it from sums; None where it did not.
        seconds_total: wall time, start-up included.
        machine: the machine in words.
    """

    run: str
    scenario: str
    server_sees: str
    clients: int
    parameters: int
    float32_bytes: int
    rounds: list[RoundSummary] = field(default_factory=list[RoundSummary])
    holdings: list[list[int]] | None = None
    client_names: list[str] = field(default_factory=list[str])
    class_names: list[str] = field(default_factory=list[str])
    class_prior: list[int] = field(default_factory=list[int])
    client_class_accuracy: dict[str, list[float | None]] = field(default_factory=dict[str, list[float | None]])
    tasks: list[TaskSpan] = field(default_factory=list[TaskSpan])
    untrained: list[float | None] = field(default_factory=list[float | None])
    attack: str = ""
    hostile: list[str] = field(default_factory=list[str])
    proofs: list[Proof] = field(default_factory=list[Proof])
    suspended: dict[str, str] = field(default_factory=dict[str, str])
    sketch_dim: int = 0
    config: dict[str, object] = field(default_factory=dict[str, object])
    starts: list[StartSummary] = field(default_factory=list[StartSummary])
    model_digest: str = ""
    calibrated: CalibratedSummary | None = None
    started_at: str = ""
    seconds_total: float | None = None
    machine: str = ""

    def to_json(self) -> str:
        """JSON text; a number that is not finite (a diverged loss) becomes null."""
        return TypeAdapter(RunSummary).dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str | bytes) -> RunSummary:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: not JSON, or a field is missing or of the wrong type; says which.
        """
        try:
            return TypeAdapter(RunSummary).validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(first["msg"], key=where, cure="is this the summary of a run?") from error


@dataclass(frozen=True)
class Comparison:
    """The figures of a run on rough data at its end, and the same of plain FedAvg on the same data; 0..1.

    Attributes:
        balanced_accuracy: mean recall over classes.
        tail_accuracy: mean recall over the classes with fewest training examples.
        forgetting: mean over the earlier tasks of their best accuracy minus that at the end.
        memorised_wrong: share of the wrong labels in the training data that the model repeats.
        plain_balanced_accuracy: of plain FedAvg.
        plain_tail_accuracy: likewise.
        plain_forgetting: likewise.
        plain_memorised_wrong: likewise.
    """

    balanced_accuracy: float | None = None
    tail_accuracy: float | None = None
    forgetting: float | None = None
    memorised_wrong: float | None = None
    plain_balanced_accuracy: float | None = None
    plain_tail_accuracy: float | None = None
    plain_forgetting: float | None = None
    plain_memorised_wrong: float | None = None


def compare(run: RunSummary, plain: RunSummary | None) -> Comparison:
    """The figures of a run beside those of plain FedAvg; without one, only its own."""
    return Comparison(*_at_the_end(run), *(_at_the_end(plain) if plain is not None else ()))


def _at_the_end(run: RunSummary) -> tuple[float | None, ...]:
    tasks = task_matrix(run)
    return (
        last_known(r.balanced_accuracy for r in run.rounds),
        last_known(r.tail_accuracy for r in run.rounds),
        tasks.forgetting if tasks is not None else None,
        last_known(r.memorised_wrong for r in run.rounds),
    )


def with_class_counts(run: RunSummary, counts: Sequence[int]) -> RunSummary:
    """The run with the accuracy of head, medium and tail, which follow from who has how many training examples.

    Args:
        run: its recall by class is known.
        counts: training examples by class, C integers.
    """
    shots = shots_by_rank(counts if any(counts) else ())

    def filled(r: RoundSummary) -> RoundSummary:
        recall = r.class_accuracy or []
        if len(recall) != len(counts):
            return r
        head, medium, tail = (mean(recall[c] for c in some) for some in (shots.head, shots.medium, shots.tail))
        return replace(r, head_accuracy=head, medium_accuracy=medium, tail_accuracy=tail)

    return replace(run, rounds=[filled(r) for r in run.rounds])


def task_matrix(run: RunSummary) -> TaskMatrix | None:
    """Accuracy on each task after each task that is over; None where there are no tasks, or none is over.

    Of a task whose last round gave no version, the last version before it counts.
    """
    measured = [r for r in run.rounds if r.class_accuracy]
    recalls: list[tuple[float | None, ...]] = []
    begun = 0
    for task in run.tasks:
        during = [r for r in measured if begun < r.round <= task.last_round]
        if not during or max(r.round for r in run.rounds) < task.last_round:
            break
        recalls.append(tuple(during[-1].class_accuracy or ()))
        begun = task.last_round
    if not recalls:
        return None
    return class_incremental(recalls, [task.classes for task in run.tasks], tuple(run.untrained))


def per_client_round(total_bytes: Iterable[int], rounds: list[RoundSummary]) -> float | None:
    """Mean bytes for one client in one round: totals by round over the clients that were asked; None for no client."""
    client_rounds = sum(len(r.participants) for r in rounds)
    return sum(total_bytes) / client_rounds if client_rounds else None


def last_known(values: Iterable[float | None]) -> float | None:
    """The last value that was measured and is finite; None when none was."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    return known[-1] if known else None
