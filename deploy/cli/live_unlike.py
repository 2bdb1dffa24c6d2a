"""How clients that differ look in a status: their accuracies, clusters, tiers, factors and contributions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from roughfed.report.scale import percent, size
from roughfed.report.unlike.parts import ClientTier, Contribution, Fairness, Spread, Unlike, unlike_of
from roughfed.report.words import free_riding

NAMED = 6
"""Clients that are named in one line."""

WORDS = {"global": "common model", "personal": "personal", "alone": "trained alone"}

Line = tuple[str, str, str]
"""(label, words, style)"""


def lines(told: Mapping[str, Mapping[str, Any]] | None) -> list[Line]:
    """What a status says, a line each.

    Args:
        told: key of a round's summary -> "round" and "found" (`roughfed.server.observe.recent_rounds`);
            None: an older server.
    """
    if not told:
        return []
    known = unlike_of({key: each["found"] for key, each in told.items()})
    return [*_spreads(known), *_clusters(known), *_tiers(known.tiers), *_fairness(known), *_contribution(known)]


def _spreads(known: Unlike) -> Iterator[Line]:
    if known.spread is None:
        return
    for model, found in known.spread.models.items():
        if found.mean is not None:
            yield "on their data", f"{WORDS[model]} {_spread(found)}", ""
    if (worse := known.spread.worse_than_alone) is not None:
        yield "worse than alone", f"{percent(worse)} of the clients", "yellow" if worse > 0 else ""


def _spread(found: Spread) -> str:
    shares = {"worst tenth": found.worst10, "best tenth": found.best10, "std": found.std}
    more = "".join(f", {name} {percent(value)}" for name, value in shares.items() if value is not None)
    return f"{percent(found.mean or 0.0)}{more} ({found.clients} clients)"


def _clusters(known: Unlike) -> Iterator[Line]:
    if known.clusters is not None and len(known.clusters.clusters) > 1:
        sizes = [f"{name}: {len(members)}" for name, members in known.clusters.clusters.items()]
        yield "clusters", f"{len(sizes)}, clients in each: {_few(sizes)}", ""


def _tiers(tiers: Mapping[str, ClientTier]) -> Iterator[Line]:
    for name, found in tiers.items():
        part = "" if found.keep_one_in <= 1 else f", 1 in {found.keep_one_in} coordinates"
        only = f", only {_few(found.tensors)}" if found.tensors else ""
        void = f"; no sum: {found.void}" if found.void else ""
        said = f"{name}: {found.clients} clients, {size(found.bytes)} up each{part}{only}{void}"
        yield "tier", said, "yellow" if void else ""


def _fairness(known: Unlike) -> Iterator[Line]:
    if (found := known.fairness) is not None and found.rule not in ("", "none"):
        yield "fairness", f"{found.rule}{_strength(found)}{_factors(found.weights)}", ""


def _strength(found: Fairness) -> str:
    return "" if found.strength is None else f", strength {found.strength:g}"


def _factors(weights: Mapping[str, float]) -> str:
    if not weights:
        return ""
    most = max(weights, key=lambda name: (weights[name], name))
    return f", factors {min(weights.values()):.2g} to {weights[most]:.2g} ({most})"


def _contribution(known: Unlike) -> Iterator[Line]:
    if (found := known.contribution) is None:
        return
    if ranked := _ranked(found):
        yield "contributions", f"{found.method}: {_few(ranked)}", ""
    for name, why in list(found.free_riders.items())[:NAMED]:
        yield "free rider", f"{name}: {free_riding(why)}", "red"
    if len(found.free_riders) > NAMED:
        yield "free rider", f"{len(found.free_riders) - NAMED} more", "red"
    if found.levels:
        counts = {quality: list(found.levels.values()).count(quality) for quality in sorted(set(found.levels.values()))}
        yield "model quality", _few([f"{percent(quality)}: {n} clients" for quality, n in counts.items()]), ""


def _ranked(found: Contribution) -> list[str]:
    totals = {name: parts["total"] for name, parts in found.scores.items() if "total" in parts}
    return [f"{name} {totals[name]:.3g}" for name in sorted(totals, key=lambda name: (-totals[name], name))]


def _few(words: Sequence[str]) -> str:
    rest = len(words) - NAMED
    return ", ".join(words[:NAMED]) + (f", {rest} more" if rest > 0 else "")
