"""The sections of clients that differ, each only where something was measured."""

from __future__ import annotations

from collections.abc import Callable

from roughfed.report.layout import section
from roughfed.report.summary import RunSummary
from roughfed.report.unlike.clusters import clusters, was_clustered
from roughfed.report.unlike.contribution import contribution, was_scored
from roughfed.report.unlike.fairness import fairness, was_fair
from roughfed.report.unlike.personal import personal, was_personal
from roughfed.report.unlike.tiers import has_tiers, tiers

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
