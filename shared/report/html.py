"""`report.html`: one file that shows a run and asks the network for nothing."""

from __future__ import annotations

from importlib import resources

import roughfed
from roughfed.report import plots, tables
from roughfed.report.summary import RunSummary
from roughfed.report.svg import plot_css, safe

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # also if a name slipped through the escaping


def render(run: RunSummary) -> str:
    """The page of a run.

    Args:
        run: its summary; what was not measured is said to be so.

    Returns:
        an HTML document, UTF-8, self-contained.
    """
    css = plot_css() + resources.files(__package__ or "roughfed.report").joinpath("page.css").read_text(
        encoding="utf-8"
    )
    body = "".join([_header(run), _strip(run), *_sections(run), _footer(run)])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="color-scheme" content="light dark"/>'
        f"<title>roughfed: run {safe(run.run)}</title><style>{css}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def _header(run: RunSummary) -> str:
    facts = [
        ("scenario", run.scenario),
        ("server sees", run.server_sees),
        ("started", run.started_at),
        ("machine", run.machine),
    ]
    items = "".join(f"<div><dt>{label}</dt><dd>{safe(value)}</dd></div>" for label, value in facts if value)
    return f'<header><p class="brand">roughfed</p><h1>Run {safe(run.run)}</h1><dl class="facts">{items}</dl></header>'


def _strip(run: RunSummary) -> str:
    cards = [
        f'<div class="card"><dt>{safe(label)}</dt><dd>{safe(value)}</dd><dd class="note">{safe(note)}</dd></div>'
        for label, value, note in tables.key_figures(run)
    ]
    return f'<section aria-label="Key figures"><dl class="strip">{"".join(cards)}</dl></section>'


def _sections(run: RunSummary) -> list[str]:
    if not run.rounds:
        return [_section("Learning", '<p class="note">No round was finished.</p>'), _clients(run), _settings(run)]
    lost = f"<div>{tables.losses_table(run)}</div>"
    return [
        _section("Learning", _pair(_figure("Accuracy", plots.accuracy_svg(run)), _figure("Loss", plots.loss_svg(run)))),
        _section("Classes", _pair(_figure("Last measured", plots.class_accuracy_svg(run)), *_history(run))),
        _clients(run),
        _section("Participation", _pair(_figure("Clients by round", plots.participation_svg(run)), lost)),
        _section(
            "Cost",
            _pair(_figure("Bytes, all clients", plots.bytes_svg(run)), _figure("Time by phase", plots.phases_svg(run))),
        ),
        _section("Rounds", f"<details><summary>Figures of each round</summary>{tables.rounds_table(run)}</details>"),
        _settings(run),
    ]


def _history(run: RunSummary) -> list[str]:
    """Over one round there is no history."""
    if sum(bool(r.class_accuracy) for r in run.rounds) < 2:
        return []
    return [_figure("Over the rounds", plots.class_history_svg(run))]


def _clients(run: RunSummary) -> str:
    held = plots.holdings_svg(run.holdings or [], run.client_names, run.class_names)
    figures = [_figure("Who holds what: examples by class", held)]
    if any(r.client_accuracy for r in run.rounds):
        figures.append(_figure("Accuracy on its own held-out data, worst first", plots.client_accuracy_svg(run)))
    return _section("Clients", _pair(*figures))


def _settings(run: RunSummary) -> str:
    return _section("Configuration", tables.config_table(run.config))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{safe(title)}</h2>{content}</section>"


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{safe(caption)}</figcaption>{svg}</figure>"


def _pair(*blocks: str) -> str:
    """Side by side where the window is wide, else one below the other."""
    return f'<div class="{"pair" if len(blocks) > 1 else "single"}">{"".join(blocks)}</div>'


def _footer(run: RunSummary) -> str:
    digest = f"final model <code>{safe(run.model_digest)}</code>, " if run.model_digest else ""
    return f"<footer>{digest}written by roughfed {safe(roughfed.__version__)}</footer>"
