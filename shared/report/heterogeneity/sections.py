"""The sections of clients that differ, each only where something was measured."""

from __future__ import annotations

from collections.abc import Callable

from roughfed.report.heterogeneity.clusters import clusters, was_clustered
from roughfed.report.heterogeneity.contribution import contribution, was_scored
from roughfed.report.heterogeneity.fairness import fairness, was_fair
from roughfed.report.heterogeneity.personal import personal, was_personal
from roughfed.report.heterogeneity.tiers import has_tiers, tiers
from roughfed.report.layout import section
from roughfed.report.summary import RunSummary

Part = Callable[[RunSummary], str]

SECTIONS: dict[str, tuple[Callable[[RunSummary], bool], Part]] = {
    "Personal": (was_personal, personal),
    "Clusters": (was_clustered, clusters),
    "Tiers of clients": (has_tiers, tiers),
    "Fairness": (was_fair, fairness),
    "Contribution": (was_scored, contribution),
}
"""Heading -> whether there is anything to show, and the content."""


def sections(run: RunSummary) -> list[str]:
    """Markup of the sections of which the run's summaries know anything."""
    return [section(title, content(run)) for title, (known, content) in SECTIONS.items() if known(run)]
