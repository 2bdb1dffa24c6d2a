"""Tables and key figures of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

from roughfed.report.layout import folded, note, safe
from roughfed.report.scale import number, percent, seconds, size
from roughfed.report.summary import RunSummary, last_known, per_client_round, task_matrix
from roughfed.report.words import reason

MAX_ROWS = 300  # a page must stay a page; the JSON summary has everything
UNKNOWN = "–"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: Collection[int] = (),
    caption: str = "",
    most: int = MAX_ROWS,
) -> str:
    """A table of texts, which are escaped; `numeric` columns are set flush right; a long table is cut and says so."""
    top = "".join(_cell('th scope="col"', title, i in numeric) for i, title in enumerate(head))
    lines = ["".join(_cell("td", cell, i in numeric) for i, cell in enumerate(row)) for row in rows[:most]]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    left = len(rows) - most
    more = f'<p class="note">and {left:,} more rows, in the summary file</p>' if left > 0 else ""
    named = safe(caption or ", ".join(filter(None, head)))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{named}"><table><caption class="unseen">{named}'
        f"</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{more}"
    )


def key_figures(run: RunSummary) -> list[tuple[str, str, str]]:
    """(label, value, note) of the strip at the top."""
    accuracy = last_known(r.accuracy for r in run.rounds)
    balanced = last_known(r.balanced_accuracy for r in run.rounds)
    committed = sum(r.outcome == "committed" for r in run.rounds)
    round_seconds = sorted(r.seconds for r in run.rounds)
    median = seconds(round_seconds[len(round_seconds) // 2]) if round_seconds else UNKNOWN
    up = per_client_round((r.upload_bytes for r in run.rounds), run.rounds)
    down = per_client_round((r.download_bytes for r in run.rounds), run.rounds)
    return [
        ("Accuracy", percent(accuracy) if accuracy is not None else UNKNOWN, "last measured"),
        ("Balanced accuracy", percent(balanced) if balanced is not None else UNKNOWN, _worst_class(run)),
        *_rough_figures(run),
        ("Rounds", str(committed), f"committed, of {len(run.rounds)}"),
        ("Clients", number(run.clients), _participation(run)),
        ("Time", seconds(run.seconds_total) if run.seconds_total is not None else UNKNOWN, f"a round: {median}"),
        ("Up, client and round", size(up) if up is not None else UNKNOWN, _against_float32(up, run)),
        ("Down, client and round", size(down) if down is not None else UNKNOWN, _against_float32(down, run)),
        ("Parameters", number(run.parameters), f"{size(run.float32_bytes)} as float32"),
    ]


def _rough_figures(run: RunSummary) -> list[tuple[str, str, str]]:
    """Those that were measured."""
    found: list[tuple[str, str, str]] = []
    if (f1 := last_known(r.macro_f1 for r in run.rounds)) is not None:
        found.append(("Macro-F1", percent(f1), "mean over the classes"))
    if (error := last_known(r.calibration_error for r in run.rounds)) is not None:
        found.append(("Calibration error (ECE)", percent(error), "confidence against accuracy"))
    if (matrix := task_matrix(run)) is not None and matrix.forgetting is not None:
        found.append(
            ("Forgetting", percent(matrix.forgetting), f"after {len(matrix.values)} of {len(run.tasks)} tasks")
        )
    if (memorised := last_known(r.memorised_wrong for r in run.rounds)) is not None:
        found.append(("Wrong labels repeated", percent(memorised), "of those in the training data"))
    return found


def losses_table(run: RunSummary) -> str:
    """Every exclusion, dropout and lost round with its reason; a sentence when there was none."""
    rows: list[tuple[str, str, str, str]] = []
    for r in run.rounds:
        rows += [(str(r.round), name, "excluded", reason(why)) for name, why in r.excluded]
        gone = dict.fromkeys(r.gone, "its connection had ended")
        rows += [
            (str(r.round), n, "gone" if n in gone else "late", gone.get(n, "sent nothing in time")) for n in r.dropped
        ]
        if r.outcome != "committed":
            rows.append((str(r.round), "all", "round lost", r.reason or r.outcome))
    if not rows:
        return note("Nobody dropped out, nobody was excluded, and no round was lost.")
    count = Counter((what, why) for _, _, what, why in rows)
    chips = "".join(f"<li>{safe(what)}: {safe(why)} <b>{n:,}</b></li>" for (what, why), n in count.most_common(12))
    listed = table(("round", "client", "what", "reason"), rows, numeric=(0,))
    return f'<ul class="chips">{chips}</ul>{folded(f"Each of the {len(rows):,}", listed, len(rows))}'


def rounds_table(run: RunSummary) -> str:
    """The figures of each round."""
    shares = {
        "accuracy": "accuracy",
        "balanced": "balanced_accuracy",
        "worst class": "worst_class",
        "tail": "tail_accuracy",
        "macro-F1": "macro_f1",
        "calibration error": "calibration_error",
    }
    known = {name: field for name, field in shares.items() if any(getattr(r, field) is not None for r in run.rounds)}
    rest = ("loss", "time", "counted", "up", "down", "training", "reported")
    rows = [
        (
            str(r.round),
            r.outcome,
            *(share(getattr(r, field)) for field in known.values()),
            f"{r.loss:.4g}" if r.loss is not None else UNKNOWN,
            seconds(r.seconds),
            f"{len(r.accepted)} of {len(r.participants)}",
            size(r.upload_bytes),
            size(r.download_bytes),
            seconds(r.train_seconds) if r.train_seconds is not None else UNKNOWN,
            ", ".join(f"{name} {value:.4g}" for name, value in r.train_metrics.items()) or UNKNOWN,
        )
        for r in run.rounds
    ]
    head = ("round", "outcome", *known, *rest)
    return table(head, rows, numeric=(0, *range(2, len(head) - 1)))


def config_table(config: Mapping[str, object]) -> str:
    """The settings, with dotted keys as in the environment and in errors."""
    rows = list(flat(config))
    return table(("setting", "value"), rows) if rows else note("not recorded")


def flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted key, value in words)."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(cast("Mapping[str, object]", value), f"{prefix}{key}.")
        elif isinstance(value, bool):
            yield f"{prefix}{key}", str(value).lower()
        else:
            yield f"{prefix}{key}", UNKNOWN if value is None else str(value)


def _cell(tag: str, content: str, right: bool) -> str:
    kind = ' class="n"' if right else ""
    return f"<{tag}{kind}>{safe(content)}</{tag[:2]}>"


def share(value: float | None) -> str:
    """A share of 1, or a dash."""
    return percent(value) if value is not None else UNKNOWN


def _worst_class(run: RunSummary) -> str:
    last = next((r.class_accuracy for r in reversed(run.rounds) if r.class_accuracy), None) or []
    known = [v for v in last if v is not None]
    return f"worst class: {percent(min(known))}" if known else "mean over the classes"


def _participation(run: RunSummary) -> str:
    asked = sum(len(r.participants) for r in run.rounds)
    counted = sum(len(r.accepted) for r in run.rounds)
    return f"{percent(counted / asked)} of updates counted" if asked else "nobody was asked"


def _against_float32(amount: float | None, run: RunSummary) -> str:
    if amount is None or not run.float32_bytes:
        return "against float32"
    return f"{amount / run.float32_bytes:.3g} x float32"
