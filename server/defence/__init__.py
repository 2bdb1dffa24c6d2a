"""Step 9: a view of the round becomes a verdict for each client. A rule is one file and one row.

A row says which views the rule can judge and how many rows it needs; `judge` names whom it leaves out and why, and,
where whole updates are there, how the others become one. Under secure aggregation a verdict is yes or no.
"""

from __future__ import annotations

from roughfed.server.defence.rule import PREVIOUS, ROOT, Rule, Situation
from roughfed.server.defence.rules import (
    bulyan,
    centered_clipping,
    default,
    dnc,
    flame,
    fltrust,
    foolsgold,
    geometric_median,
    krum,
    median,
    multi_krum,
    nnm,
    norm_bound,
    trimmed_mean,
)
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.view import ROUNDING, Rows, View, view_of_arrays, view_of_claims, view_of_files

__all__ = [
    "PREVIOUS",
    "ROOT",
    "ROUNDING",
    "RULES",
    "Rows",
    "Rule",
    "Situation",
    "Verdict",
    "View",
    "view_of_arrays",
    "view_of_claims",
    "view_of_files",
]

ALL: tuple[Rows, ...] = ("sketches", "updates", "groups")
WHOLE: tuple[Rows, ...] = ("updates", "groups")
CLIENTS: tuple[Rows, ...] = ("sketches", "updates")

RULES: dict[str, Rule] = {
    "none": Rule("everybody counts", ALL, lambda _f: 1, lambda _view, _situation: Verdict()),
    "default": Rule(
        "leaves out whom its last rounds speak against: copies, pulling together, disagreement, length",
        CLIENTS,
        default.min_rows,
        default.judge,
        wants=frozenset({ROOT}),
        remembers=True,
        translates=False,
    ),
    "norm-bound": Rule(
        "shortens rows to the median norm; of sketches, leaves out those of twice that (Sun et al., 2019)",
        ALL,
        norm_bound.min_rows,
        norm_bound.judge,
        gives="weights",
        translates=False,
    ),
    "krum": Rule(
        "keeps the one row that is nearest to its neighbours (Blanchard et al., NeurIPS 2017)",
        WHOLE,
        krum.min_rows,
        krum.judge,
    ),
    "multi-krum": Rule(
        "leaves out the f rows that are farthest from their neighbours (Blanchard et al., NeurIPS 2017)",
        ALL,
        multi_krum.min_rows,
        multi_krum.judge,
    ),
    "nnm": Rule(
        "mixes each row with the n - f nearest to it, then takes the trimmed mean (Allouah et al., AISTATS 2023)",
        WHOLE,
        nnm.min_rows,
        nnm.judge,
        gives="coordinates",
    ),
    "median": Rule(
        "takes the median of each coordinate (Yin et al., ICML 2018)",
        WHOLE,
        median.min_rows,
        median.judge,
        gives="coordinates",
    ),
    "trimmed-mean": Rule(
        "takes the mean of each coordinate without its f largest and f smallest values (Yin et al., ICML 2018)",
        WHOLE,
        trimmed_mean.min_rows,
        trimmed_mean.judge,
        gives="coordinates",
    ),
    "bulyan": Rule(
        "picks n - 2f rows by Krum, then averages the values nearest to the median (El Mhamdi et al., ICML 2018)",
        WHOLE,
        bulyan.min_rows,
        bulyan.judge,
        gives="coordinates",
    ),
    "geometric-median": Rule(
        "takes the point with the least sum of distances to the rows (Pillutla et al., IEEE TSP 2022)",
        WHOLE,
        geometric_median.min_rows,
        geometric_median.judge,
        gives="weights",
    ),
    "centered-clipping": Rule(
        "moves from the last step by updates that are cut to their median distance from it (Karimireddy et al., 2021)",
        WHOLE,
        centered_clipping.min_rows,
        centered_clipping.judge,
        gives="weights",
        wants=frozenset({PREVIOUS}),
        translates=False,
    ),
    "fltrust": Rule(
        "trusts each update as far as it agrees with one of the server's own examples (Cao et al., NDSS 2021)",
        ALL,
        fltrust.min_rows,
        fltrust.judge,
        gives="weights",
        needs=frozenset({ROOT}),
        translates=False,
    ),
    "flame": Rule(
        "leaves out who is not in the majority's cluster, cuts to the median norm (Nguyen et al., USENIX 2022)",
        CLIENTS,
        flame.min_rows,
        flame.judge,
        gives="weights",
        translates=False,
    ),
    "dnc": Rule(
        "leaves out the f rows farthest along the direction of the largest spread (Shejwalkar, Houmansadr, NDSS 2021)",
        ALL,
        dnc.min_rows,
        dnc.judge,
    ),
    "foolsgold": Rule(
        "silences clients whose updates add up to the same direction (Fung et al., 2018)",
        ("updates",),
        foolsgold.min_rows,
        foolsgold.judge,
        gives="weights",
        remembers=True,
        translates=False,
    ),
}
