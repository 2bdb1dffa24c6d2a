"""An audit as sections of a page: of audit.html, and of a run's report.html."""

from __future__ import annotations

from roughfed.deploy.audit.charts import guess_bars, pictures
from roughfed.deploy.audit.habits import LENGTHS
from roughfed.deploy.audit.regression import Curve
from roughfed.deploy.audit.result import AuditResult
from roughfed.deploy.audit.words import MEANINGS, attacker, named, solved, verdict
from roughfed.report.layout import captioned, pair, section
from roughfed.report.lines import line_chart
from roughfed.report.scale import number, ticks
from roughfed.report.svg import Axis, safe
from roughfed.report.tables import table

NOT_SHOWN = (
    "One SGD step, fresh weights, labels known to the attacker: the worst case. More images, more steps and later "
    "rounds make it harder. Not attacked here: models crafted by the server, and what else an attacker may know."
)


def sections(result: AuditResult) -> list[str]:
    """The audit, HTML sections in order."""
    return [
        section("Privacy, measured: gradient inversion", _note(_subject(result)) + _inversions(result)),
        section("Privacy, measured: rebuilt images", _pictures(result)),
        section("Privacy, measured: regression over rounds", _regressions(result)),
    ]


def facts(result: AuditResult) -> list[tuple[str, str]]:
    """(label, value) for the head of the page."""
    return [
        ("data", result.data),
        ("model", result.model),
        ("sketch", f"{result.dim} numbers"),
        ("group", f"{result.group} clients"),
        ("trials", str(result.trials)),
    ]


def _subject(result: AuditResult) -> str:
    warned = f" Mind: {result.warning}." if result.warning else ""
    return f"{NOT_SHOWN}{warned}"


def _inversions(result: AuditResult) -> str:
    blocks: list[str] = []
    for batch in sorted({row.batch for row in result.inversions}):
        rows = [row for row in result.inversions if row.batch == batch]
        drawn = {named(row): (max(row.psnr_db, 0.0), max(row.guess_db, 0.0)) for row in rows}
        count = "one image" if batch == 1 else f"{batch} images"
        caption = f"A batch of {count}: PSNR of what is rebuilt, dB (more = less private)"
        blocks.append(captioned(caption, guess_bars(caption, drawn, form=_decibels)))
    head = ("batch", "the server sees", "attacker", "numbers", "unknowns", "PSNR", "guess", "")
    rows = [
        (
            str(r.batch),
            MEANINGS[r.mode],
            attacker(r),
            number(r.numbers),
            number(r.unknowns),
            _decibels(r.psnr_db),
            _decibels(r.guess_db),
            verdict(r),
        )
        for r in result.inversions
    ]
    words = "“Learned” and “has such images”: this attacker has thousands of public images of the same kind."
    return pair(*blocks) + table(head, rows, numeric=(0, 3, 4, 5, 6)) + _note(words)


def _pictures(result: AuditResult) -> str:
    blocks = [
        captioned(f"Batch of {p.batch}: an image of the first client", pictures(f"Batch of {p.batch}", p.images))
        for p in result.pictures
    ]
    return pair(*blocks)


def _regressions(result: AuditResult) -> str:
    static, habits = (
        captioned(caption, _chart(caption, curves))
        for caption, curves in (
            ("A value that never changes, such as class counts: error, 1 = guessing", result.statics),
            (f"A client's mean update over {LENGTHS * result.dim:,} parameters: error, 1 = guessing", result.habits),
        )
    )
    rows = [(curve.name, solved(curve), f"{curve.error[-1]:.3f}") for curve in result.statics]
    words = (
        f"{result.clients} clients; groups redrawn every round or every 10, with everybody or with 5 % away. The curve "
        f"of sketches is for {LENGTHS * result.dim} parameters and stretches in proportion: D parameters need D / "
        f"{result.dim} rounds of sketches for as many equations as unknowns. The curves of sums do not depend on D."
    )
    return (
        pair(static, habits)
        + table(("static value asked", "all clients solved", "error at the end"), rows)
        + _note(words)
    )


def _chart(title: str, curves: list[Curve]) -> str:
    series = {curve.name: curve.error for curve in curves}
    longest = max((len(error) for error in series.values()), default=1)
    high = max((max(error) for error in series.values()), default=1.0)
    return line_chart(title, series, x=list(range(1, longest + 1)), axis=Axis(ticks(0, max(high, 1.0)), number))


def _decibels(value: float) -> str:
    return f"{value:.1f} dB"


def _note(words: str) -> str:
    return f'<p class="note">{safe(words)}</p>'
