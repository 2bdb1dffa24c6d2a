"""What a round's summary keeps of clients that differ: accuracy by client, clusters, tiers, fairness, contribution.

The server journals plain dictionaries; here they become typed values for the report. A key
that is absent is None: nothing was measured, and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from roughfed.errors import StorageError

T = TypeVar("T")

MODELS = ("global", "personal", "alone")
"""Whose accuracy is told apart: the common model, a client's own part of it, a model trained by that client alone."""


@dataclass(frozen=True)
class Spread:
    """Accuracy over clients, each on its own held-out data, in shares of 1.

    Attributes:
        clients: that were measured.
        mean: over clients.
        std: standard deviation over clients.
        worst10: mean of the worst tenth of the clients.
        best10: mean of the best tenth.
        within: how far off the others may be, where clients are only counted in steps of accuracy.
    """

    clients: int = 0
    mean: float | None = None
    std: float | None = None
    worst10: float | None = None
    best10: float | None = None
    within: float | None = None


@dataclass(frozen=True)
class Spreads:
    """The spread of up to three models.

    Attributes:
        models: "global", "personal" or "alone" -> its spread.
        worse_than_alone: share of the clients for which what the federation gives them is worse than their own model.
    """

    models: dict[str, Spread] = field(default_factory=dict[str, Spread])
    worse_than_alone: float | None = None


@dataclass(frozen=True)
class ClusterFigures:
    """Who belongs where, after a round.

    Attributes:
        cluster: that the round was about.
        clusters: cluster -> its members.
        event: "split", "chosen", "joined-default"; empty: nothing changed.
    """

    cluster: str = ""
    clusters: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    event: str = ""


@dataclass(frozen=True)
class TierFigures:
    """Clients that send alike parts of the model in a round.

    Attributes:
        clients: in the tier.
        keep_one_in: of so many coordinates one is sent.
        tensors: patterns of the tensors that are sent; empty: all.
        bytes: of the upload of one client.
        void: why its sum does not count; empty: it does.
    """

    clients: int = 0
    keep_one_in: int = 1
    tensors: list[str] = field(default_factory=list[str])
    bytes: float = 0.0
    void: str = ""


@dataclass(frozen=True)
class FairnessFigures:
    """How a round weighed clients by their loss.

    Attributes:
        rule: its name.
        strength: q of q-FedAvg, t of TERM; None where the rule has none.
        weights: client -> factor, 1 is what a client at the usual loss has; empty where the server knows nobody's.
        histogram: clients by factor, where only sums are known.
    """

    rule: str
    strength: float | None = None
    weights: dict[str, float] = field(default_factory=dict[str, float])
    histogram: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class ContributionFigures:
    """What each client was worth to a round, by some method.

    Attributes:
        method: its name.
        evaluations: of coalitions, in this round.
        scores: client -> "round", "total" and the method's own parts.
        intervals: client -> (low, high) of its total, where the method gives one.
        free_riders: client -> why it is taken for one.
        levels: client -> quality of the model that is exported to it, 0..1.
        copies: client -> whose update it sent as well.
        skipped: why the round was not scored.
    """

    method: str = ""
    evaluations: int = 0
    scores: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    free_riders: dict[str, str] = field(default_factory=dict[str, str])
    levels: dict[str, float] = field(default_factory=dict[str, float])
    copies: dict[str, str] = field(default_factory=dict[str, str])
    skipped: str = ""


@dataclass(frozen=True)
class Heterogeneity:
    """All of it, of one round; what is not known is None.

    Attributes:
        spread: accuracy over clients.
        clusters: who belongs where.
        tiers: name -> its clients and what they send.
        fairness: weights by loss.
        contribution: what each was worth.
    """

    spread: Spreads | None = None
    clusters: ClusterFigures | None = None
    tiers: dict[str, TierFigures] = field(default_factory=dict[str, TierFigures])
    fairness: FairnessFigures | None = None
    contribution: ContributionFigures | None = None


def heterogeneity_of(summary: Mapping[str, Any]) -> Heterogeneity:
    """Read a journaled summary.

    Args:
        summary: of a round; the keys "spread", "cluster", "tiers", "fairness", "contribution" are read.

    Raises:
        StorageError: one of them is not what it should be; says where.
    """
    return Heterogeneity(
        spread=_spreads(summary.get("spread")),
        clusters=_read(ClusterFigures, "cluster", found) if (found := summary.get("cluster")) else None,
        tiers=_read(dict[str, TierFigures], "tiers", summary.get("tiers") or {}),
        fairness=_fairness(summary.get("fairness")),
        contribution=_read(ContributionFigures, "contribution", found)
        if (found := summary.get("contribution"))
        else None,
    )


def _spreads(found: Mapping[str, Any] | None) -> Spreads | None:
    """Models that were not measured are left out."""
    if not found:
        return None
    models = {name: found[name] for name in MODELS if found.get(name)}
    return Spreads(
        _read(dict[str, Spread], "spread", models),
        _read(float | None, "spread", found.get("worse_than_alone")),
    )


def _fairness(found: Mapping[str, Any] | None) -> FairnessFigures | None:
    """The factors by client, or their histogram: a client may be called "histogram", but its factor is one number."""
    if not found:
        return None
    given: Mapping[str, Any] = found.get("weights") or {}
    counts = given.get("histogram")
    known = isinstance(counts, Sequence)
    told: dict[str, Any] = {
        "rule": found.get("rule", ""),
        "strength": found.get("q", found.get("t")),
        "weights": {} if known else given,
        "histogram": counts if known else [],
    }
    return _read(FairnessFigures, "fairness", told)


def _read(kind: type[T] | Any, key: str, found: object) -> T:
    try:
        return TypeAdapter[T](kind).validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join((key, *(str(part) for part in first["loc"])))
        raise StorageError(f"the summary of a round in the journal does not read: {where}: {first['msg']}") from error
