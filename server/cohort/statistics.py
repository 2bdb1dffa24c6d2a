"""What the server asks all clients for, and what it makes of the sums: facts that come with the next job.

Nothing is made of what fewer than four clients are behind. Sums come behind masks, or, where the server sees updates,
added up from the statements; here they are the same. C classes.

Class shares of all clients: logit adjustment with a global prior (Menon et al., ICLR 2021). Transition matrix from
summed counts: forward correction (Patrini et al., CVPR 2017). Loss histograms: what a client can hold its own losses
against, in place of values of single clients (FedCorr, Xu et al., CVPR 2022; FedNoRo, Wu et al., IJCAI 2023). Feature
sums: CCVR (Luo et al., NeurIPS 2021). Gradients of the classifier: CReFF (Shang et al., IJCAI 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from roughfed.config.trainer import TrainerSettings
from roughfed.errors import ConfigError
from roughfed.methods import AUTO, read_method
from roughfed.secagg.statistics import CLASS_LOSS_BUCKETS, KINDS, LOSS_BUCKETS
from roughfed.types import Spec

FEWEST = 4
"""Clients that must be behind whatever a fact says of a class."""

MAX_FACT_NUMBERS = 20_000

Sums = Mapping[str, Sequence[int]]
Facts = dict[str, tuple[float, ...]]

BEHIND: Mapping[str, tuple[str, ...]] = {
    "class-prior": ("class-count", "class-owner"),
    "transition": ("class-owner", "trained", "transition"),
    "loss-histogram": ("trained", "loss-histogram"),
    "class-loss-histogram": ("class-owner", "trained", "class-loss-histogram"),
}
"""Fact -> the statistics that it is made of."""

OF_OPTIONS: Mapping[str, str] = {"t": "transition"}
"""Option of a part -> the fact that it goes by where it is "global"."""

CALIBRATIONS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "ccvr": ("class-owner", "trained", "feature-count", "feature-sum", "feature-outer"),
    "creff": ("class-owner", "trained", "head-gradient"),
    "post-hoc": ("class-count", "class-owner"),
}
"""`trainer.calibrate` -> the statistics that the finishing needs."""

ONCE_AT_THE_END = frozenset({"feature-count", "feature-sum", "feature-outer"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What lengths follow from: C classes, and d features before the last layer (0: there is no such layer)."""

    classes: int
    features: int = 0

    @classmethod
    def of(cls, spec: Spec, classes: int) -> Shape:
        """From the model: its last matrix with a row for each class is the classifier."""
        found = [t.shape[1] for t in spec.tensors if len(t.shape) == 2 and t.shape[0] == classes and classes]
        return cls(classes, found[-1] if found else 0)

    def length(self, name: str) -> int:
        """Values of a statistic."""
        c, d = self.classes, self.features
        lengths = {
            "trained": 1,
            "transition": c * c,
            "loss-histogram": LOSS_BUCKETS,
            "class-loss-histogram": c * CLASS_LOSS_BUCKETS,
            "feature-sum": c * d,
            "feature-outer": d * (d + 1) // 2,
            "head-gradient": c * (c * d + c),
        }
        return lengths.get(name, c)


def wanted_facts(settings: TrainerSettings) -> tuple[str, ...]:
    """The facts that the learning settings ask for, beside "rounds"."""
    names = {"class-prior"} if settings.prior == "global" else set[str]()
    if settings.self_weight:
        names.add("class-loss-histogram")
    if settings.method != AUTO:  # then each client chooses, and its parts go by its own data
        for part in read_method(settings.method).parts:
            names |= {*part.row.asks, *(fact for key, fact in OF_OPTIONS.items() if part.options.get(key) == "global")}
    return tuple(sorted(names))


def asked(settings: TrainerSettings, shape: Shape, *, number: int, rounds: int) -> tuple[str, ...]:
    """Statistics that a round asks for beside those that every masked round has, as "name:length".

    Args:
        settings: of the training.
        shape: of the model.
        number: of the round, from 1.
        rounds: of the run.
    """
    names = [name for fact in wanted_facts(settings) for name in BEHIND[fact]]
    names += CALIBRATIONS[settings.calibrate]
    due = [name for name in names if _due(name, number, rounds)]
    trained = any(KINDS[name].training and name != "trained" for name in due)
    return tuple(f"{name}:{shape.length(name)}" for name in sorted(set(due)) if name != "trained" or trained)


def _due(name: str, number: int, rounds: int) -> bool:
    """Whether a statistic is asked in a round: at the end, always, or in `often` rounds spread over the run."""
    if name in ONCE_AT_THE_END:
        return number >= rounds
    often = KINDS[name].often
    if not often or rounds <= often:
        return number <= rounds or not often
    return number in {max(2, round(rounds * at / (often + 1))) for at in range(1, often + 1)}


def check_shape(settings: TrainerSettings, shape: Shape) -> None:
    """Refuse, before the first round, what the model or the task cannot give.

    Raises:
        ConfigError: facts about classes without classes, or a calibration of a model without a last linear layer.
    """
    if shape.classes == 0 and (wanted_facts(settings) or settings.calibrate != "none"):
        raise ConfigError("there are no classes to count", key=_asker(settings), cure="leave it out for a regression")
    if settings.calibrate != "none" and not shape.features:
        raise ConfigError(
            f"{settings.calibrate} retrains the last layer, and this model ends in no matrix with a row for each class",
            key="trainer.calibrate",
            cure='set trainer.calibrate = "none", or end the model in a linear layer',
        )
    lengths = [int(text.partition(":")[2]) for text in asked(settings, shape, number=1, rounds=1)]
    if sum(lengths) > MAX_VALUES_ASKED:
        raise ConfigError(
            f"the sums that these settings need have {sum(lengths)} values, at most {MAX_VALUES_ASKED} fit",
            key=_asker(settings),
            cure="use a narrower last layer, or leave it out",
        )
    if (numbers := 1 + sum(shape.length(name) for name in wanted_facts(settings))) > MAX_FACT_NUMBERS:
        raise ConfigError(
            f"the facts that these settings go by are {numbers} numbers, at most {MAX_FACT_NUMBERS} go with a job",
            key=_asker(settings),
            cure='leave out trainer.self_weight or trainer.prior = "global"',
        )


def _asker(settings: TrainerSettings) -> str:
    """The setting that asks for sums, for a refusal."""
    for key, asks in (
        ("trainer.calibrate", settings.calibrate != "none"),
        ("trainer.prior", settings.prior == "global"),
        ("trainer.self_weight", settings.self_weight),
    ):
        if asks:
            return key
    return "trainer.method"


MAX_VALUES_ASKED = 30_000
"""Of all statistics of a round; the rest is left for evaluations."""


def facts_of(wanted: Collection[str], statics: Sums, told: Callable[[str], Sequence[Sums]], *, planned: int) -> Facts:
    """The facts of the next round.

    Args:
        wanted: their names (`wanted_facts`).
        statics: class-count and class-owner of all clients that gave them, each once.
        told: name of a statistic -> the sums of rounds that have it, newest first.
        planned: rounds of the run.

    Returns:
        "rounds" always; the others as soon as there are sums that at least four clients are behind.
    """
    facts: Facts = {"rounds": (float(planned),)}
    owners = statics.get("class-owner", ())
    for name, values in _made(wanted, statics, told, owners):
        if values and len(values) <= MAX_FACT_NUMBERS:
            facts[name] = values
    return facts


def _made(
    wanted: Collection[str], statics: Sums, told: Callable[[str], Sequence[Sums]], owners: Sequence[int]
) -> Iterator[tuple[str, tuple[float, ...]]]:
    if "class-prior" in wanted:
        yield "class-prior", class_prior(statics.get("class-count", ()), owners)
    if "transition" in wanted:
        yield "transition", transition(newest(told("transition"), "transition"), owners)
    if "loss-histogram" in wanted:
        yield "loss-histogram", tuple(map(float, newest(told("loss-histogram"), "loss-histogram")))
    if "class-loss-histogram" in wanted:
        found = newest(told("class-loss-histogram"), "class-loss-histogram")
        yield "class-loss-histogram", tuple(map(float, suppressed(found, owners, width=CLASS_LOSS_BUCKETS)))


def newest(rounds: Sequence[Sums], name: str) -> Sequence[int]:
    """The newest sum of a statistic of the training that at least four clients are behind; () without one."""
    for sums in rounds:
        if name in sums and (sums.get("trained") or (0,))[0] >= FEWEST:
            return sums[name]
    return ()


def hidden(owners: Sequence[int]) -> set[int]:
    """Classes of which nothing is said by itself: owned by fewer than four.

    What they have together follows from the rest. So if anybody owns one of them, the class with the next fewest
    owners is not told either: then at least four are behind that, too.
    """
    few = {c for c, n in enumerate(owners) if n < FEWEST}
    if any(owners[c] for c in few) and len(few) < len(owners):
        few.add(min((c for c in range(len(owners)) if c not in few), key=lambda c: (owners[c], c)))
    return few


def class_prior(counts: Sequence[int], owners: Sequence[int]) -> tuple[float, ...]:
    """Shares of the classes [C], adding up to 1; classes that must not be told get the mean of theirs.

    Returns:
        () when there are no counts, or of no class enough owners.
    """
    total = sum(counts)
    few = hidden(owners)
    if not total or len(owners) != len(counts) or len(few) == len(counts):
        return ()
    mean = sum(counts[c] for c in few) / len(few) if few else 0.0
    return tuple((mean if c in few else float(n)) / total for c, n in enumerate(counts))


def transition(counts: Sequence[int], owners: Sequence[int]) -> tuple[float, ...]:
    """T [C x C], the chance of each given label (column) for an example that seems to be of a class (row).

    Args:
        counts: by given label (row) and by the class that examples seem to be of, [C x C].
        owners: clients that have each class.

    Returns:
        rows that add up to 1; a class that must not be told, or that nothing seems to be of, keeps its labels.
    """
    width = len(owners)
    if not counts or len(counts) != width * width:
        return ()
    told, few = suppressed(counts, owners, width=width), hidden(owners)
    rows: list[float] = []
    for c in range(width):
        row = told[c::width]  # what seems to be c, by given label
        total = 0 if c in few else sum(row)
        rows += [n / total for n in row] if total else [float(at == c) for at in range(width)]
    return tuple(rows)


def suppressed(values: Sequence[int], owners: Sequence[int], *, width: int) -> tuple[int, ...]:
    """Rows of `width` values for each class, with zeros for the classes that must not be told."""
    if len(values) != len(owners) * width:
        return ()
    few = hidden(owners)
    return tuple(0 if at // width in few else value for at, value in enumerate(values))
