"""`report.html`: one file that shows a run and asks the network for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources

import roughfed
from roughfed import charts
from roughfed.report import plots, tables
from roughfed.report.comparison import against, poisoned
from roughfed.report.defence import judged, was_judged
from roughfed.report.heterogeneity.sections import sections as heterogeneity
from roughfed.report.layout import captioned, note, pair, safe, section
from roughfed.report.privacy import seen
from roughfed.report.rough_data import class_charts, last_with, tasks_charts
from roughfed.report.starts import starts
from roughfed.report.summary import RunSummary

_WRITTEN = f"written by roughfed {safe(roughfed.__version__)}"
_WITHOUT_SCRIPTS = "<noscript><p>Charts need JavaScript; the tables below them have every number.</p></noscript>"


def render(
    run: RunSummary,
    extra: Sequence[str] = (),
    *,
    plain: RunSummary | None = None,
    clean: RunSummary | None = None,
) -> str:
    """The page of a run.

    Args:
        run: its summary; what was not measured is said to be so.
        extra: more sections (`roughfed.report.layout`), put before the configuration.
        plain: plain FedAvg on the same data, to be shown beside it; of a run under attack, without a defence.
        clean: the same clients without an attack.

    Returns:
        an HTML document, UTF-8, self-contained.
    """
    facts = [
        ("scenario", run.scenario),
        ("server sees", run.server_sees),
        ("started", run.started_at),
        ("machine", run.machine),
    ]
    body = [_strip(run), *_beside(run, plain, clean), *_sections(run, tasks=plain is None), *extra, _settings(run)]
    return document(f"Run {run.run}", facts, body, footer=_footer(run))


def _beside(run: RunSummary, plain: RunSummary | None, clean: RunSummary | None) -> list[str]:
    """The run against others: of a poisoned one, the attack is what differs."""
    found: list[str] = []
    if run.attack and (clean is not None or plain is None):
        found.append(section("Under attack", poisoned(run, plain, clean)))
    elif plain is not None:
        found.append(section("Against plain FedAvg", against(run, plain)))
    return found


def document(title: str, facts: Sequence[tuple[str, str]], body: Sequence[str], *, footer: str = "") -> str:
    """The page around its body.

    Args:
        title: its heading.
        facts: (label, value) below the heading; those without a value are left out.
        body: sections, markup.
        footer: markup; empty: which version wrote it.

    Returns:
        an HTML document, UTF-8, self-contained.
    """
    content = "".join([_header(title, facts), _WITHOUT_SCRIPTS, *body, footer or f"<footer>{_WRITTEN}</footer>"])
    policy, css, scripts = _assets()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>roughfed: {safe(title[:1].lower() + title[1:])}</title><style>{css}</style></head>\n"
        f"<body><main>{content}</main>\n{scripts}</body></html>\n"
    )


@cache
def _assets() -> tuple[str, str, str]:
    """What every page brings along: its policy, its style, and the scripts that draw.

    The policy names each by its hash and allows nothing else, also if a name slipped through the escaping.
    """
    css = charts.text(charts.CSS) + resources.files("roughfed.report").joinpath("page.css").read_text(encoding="utf-8")
    scripts = {charts.text(name): kind for name, kind in charts.SCRIPTS.items()}
    hashes = " ".join(map(charts.source_hash, scripts))
    styles = f"{charts.source_hash(css)} {charts.PLOT_STYLE}"
    policy = f"default-src 'none'; script-src {hashes}; style-src {styles}; img-src data:; base-uri 'none'"
    elements = "\n".join(f'<script type="{kind}">{script}</script>' for script, kind in scripts.items())
    return policy, css, f"<!--\n{charts.text('LICENSES.txt')}-->\n{elements}"


def _header(title: str, facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{safe(label)}</dt><dd>{safe(value)}</dd></div>" for label, value in facts if value)
    return f'<header><p class="brand">roughfed</p><h1>{safe(title)}</h1><dl class="facts">{items}</dl></header>'


def _strip(run: RunSummary) -> str:
    cards = [
        f'<div class="card"><dt>{safe(label)}</dt><dd>{safe(value)}</dd><dd class="note">{safe(note)}</dd></div>'
        for label, value, note in tables.key_figures(run)
    ]
    return f'<section aria-label="Key figures"><dl class="strip">{"".join(cards)}</dl></section>'


def _sections(run: RunSummary, *, tasks: bool) -> list[str]:
    """`tasks`: show those of the run; a comparison does so itself."""
    if not run.rounds:
        return [section("Learning", note("No round was finished.")), _clients(run)]
    lost, loss = f"<div>{tables.losses_table(run)}</div>", {"loss": [r.loss for r in run.rounds]}
    return [
        section("Learning", pair(plots.accuracy(run), plots.curves("Loss", plots.numbers(run), loss, "number"))),
        section("Classes", pair(_recall(run), plots.class_history(run), *class_charts(run))),
        *([section("Tasks", pair(*tasks_charts(run)))] if run.tasks and tasks else []),
        _clients(run),
        *([section("Defence", judged(run))] if was_judged(run) else []),
        *heterogeneity(run),
        section("What the server saw", seen(run)),
        section("Participation", pair(plots.participation(run), lost)),
        section("Cost", pair(plots.traffic(run), plots.phases(run))),
        section("Rounds", f"<details><summary>Figures of each round</summary>{tables.rounds_table(run)}</details>"),
    ]


def _recall(run: RunSummary) -> str:
    last = last_with(run, "class_accuracy")
    return plots.class_accuracy(
        "Accuracy by class, last measured", (last.class_accuracy or []) if last else [], run.class_names
    )


def _clients(run: RunSummary) -> str:
    aside = "" if run.server_sees == "updates" or not run.holdings else " (the server does not know)"
    caption = f"Who holds what: examples by class{aside}"
    held = captioned(caption, note("not known"))
    if run.holdings:
        held = plots.holdings(caption, run.holdings, run.client_names, run.class_names)
    return section("Clients", pair(held, plots.client_accuracy(run)))


def _settings(run: RunSummary) -> str:
    return section("Configuration", starts(run) + tables.config_table(run.config))


def _footer(run: RunSummary) -> str:
    digest = f"final model <code>{safe(run.model_digest)}</code>, " if run.model_digest else ""
    return f"<footer>{digest}{_WRITTEN}</footer>"
