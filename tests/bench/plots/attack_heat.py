"""Attacks against defences: what each pair leaves of the model, as a heat map and as a page.

A cell is written in figures and shaded in one hue, so nothing is told by colour alone; the page has every figure again
in a table. Shares are 0..1, differences are points (hundredths of 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from roughfed.errors import ConfigError
from roughfed.report.html import document
from roughfed.report.layout import captioned, safe, section
from roughfed.report.scale import drawable, percent
from roughfed.report.tables import UNKNOWN, table
from tests.bench.plots.svg import (
    DARK,
    FONT,
    STEPS,
    WIDTH,
    clip,
    corner,
    element,
    empty,
    figure,
    lay_rows,
    standalone,
    text,
    tip,
)

UNDEFENDED = "none"
"""Label of the runs without a defence."""

CLEAN = "no attack"
"""Name of the row without attackers."""

FULL_POINTS = 10.0
"""Points lost that get the full shade."""

BELOW = 0.5
"""Points below the undefended model from which on a cell is marked: there the defence did harm."""

ROUNDING = 1e-9
SMALL = 11
NAME = 20
SLANT = 60.0

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The figures of every pair.

    Attributes:
        rows: attack -> defence -> figures; CLEAN is the first row where it is known.
        defences: labels, in the order in which they came.
    """

    rows: Mapping[str, Mapping[str, Figures]]
    defences: Sequence[str]

    def figure(self, attack: str, defence: str, name: str) -> float | None:
        """One figure of a pair; None where it was not measured."""
        value = self.rows[attack].get(defence, {}).get(name)
        return value if drawable(value) else None


def matrix_of(result: Mapping[str, object]) -> Matrix:
    """Read what `python -m tests.bench poisoning` found.

    Args:
        result: "results" is attack -> defence -> figures ("accuracy", "asr", "delta_clean", "delta_undefended",
            "excluded_hostile", "excluded_honest"; the last two are shares of client-rounds); "clean" is defence ->
            figures without attackers, or the figures of no defence alone.

    Raises:
        ConfigError: it is no such result.
    """
    found, clean = result.get("results"), result.get("clean")
    if result.get("bench") != "poisoning" or not isinstance(found, Mapping) or not found:
        raise ConfigError(
            "no result of the poisoning bench",
            key="bench",
            cure="give what python -m tests.bench poisoning --out wrote",
        )
    rows: dict[str, Mapping[str, Figures]] = {}
    if isinstance(clean, Mapping) and clean:
        given = cast("Mapping[str, object]", clean)
        by_defence = all(isinstance(value, Mapping) for value in given.values())
        rows[CLEAN] = _by_defence(given if by_defence else {UNDEFENDED: given}, CLEAN)
    rows |= {attack: _by_defence(row, attack) for attack, row in cast("Mapping[str, object]", found).items()}
    return Matrix(rows, list(dict.fromkeys(defence for row in rows.values() for defence in row)))


def _by_defence(found: object, attack: str) -> dict[str, Figures]:
    """The figures of one row; what is no number is left out."""
    if not isinstance(found, Mapping):
        raise ConfigError(f"no figures by defence under {attack!r}", key="results", cure="is the file whole?")
    rows: dict[str, Figures] = {}
    for defence, figures in cast("Mapping[str, object]", found).items():
        if not isinstance(figures, Mapping):
            raise ConfigError(f"no figures under {attack!r}, {defence!r}", key="results", cure="is the file whole?")
        numbers = cast("Mapping[str, object]", figures).items()
        rows[defence] = {k: float(v) for k, v in numbers if isinstance(v, int | float) and not isinstance(v, bool)}
    return rows


def poisoning_svg(result: Mapping[str, object]) -> str:
    """Accuracy under each attack with each defence, shaded by the points lost against no attackers and no defence.

    Returns:
        an SVG file, with its styles.

    Raises:
        ConfigError: no result of the poisoning bench.
    """
    return standalone(_accuracy(matrix_of(result)))


def render_poisoning(result: Mapping[str, object]) -> str:
    """The page of a result.

    Returns:
        an HTML document, UTF-8, self-contained.

    Raises:
        ConfigError: no result of the poisoning bench.
    """
    matrix = matrix_of(result)
    facts = [
        (key.replace("_", " "), str(value)) for key, value in result.items() if isinstance(value, str | int | float)
    ]
    return document("Attacks against defences", facts, [section("Accuracy", poisoning_charts(matrix)), *_more(matrix)])


def poisoning_charts(matrix: Matrix) -> str:
    """The heat map of accuracies with its words."""
    lead = (
        f"Accuracy of the final model in per cent. The stronger the shade, the more was lost against plain FedAvg "
        f"without attackers; the full shade is {FULL_POINTS:g} points. A corner is marked where the model is more than "
        f"{BELOW:g} points worse than without a defence under the same attack."
    )
    return f'<p class="lead">{safe(lead)}</p><div class="scroll wide">{_accuracy(matrix)}</div>'


def _more(matrix: Matrix) -> list[str]:
    """Backdoors where there are any, and the table."""
    parts: list[str] = []
    if any("asr" in figures for row in matrix.rows.values() for figures in row.values()):
        lead = (
            "Share of the examples with the attacker's trigger that the final model takes for what the attacker wants."
        )
        chart = f'<div class="scroll wide">{_success(matrix)}</div>'
        parts.append(section("Backdoors", captioned(lead, chart)))
    parts.append(section("All figures", _table(matrix)))
    return parts


def _accuracy(matrix: Matrix) -> str:
    def cell(attack: str, defence: str) -> Cell | None:
        accuracy, delta = (matrix.figure(attack, defence, name) for name in ("accuracy", "delta_clean"))
        if accuracy is None:
            return None
        lost = "" if delta is None else f", {_points(delta)} against no attackers"
        than = _below(matrix, attack, defence, accuracy)
        harm = than < -BELOW - ROUNDING
        worse = f", {_points(than)} against no defence" if harm else ""
        said = f"{attack}, {defence}: {percent(accuracy)}{lost}{worse}"
        return Cell(f"{accuracy * 100:.1f}", said, max(0.0, -(delta or 0.0)) / FULL_POINTS, harm)

    return _grid("Accuracy by attack and defence, in per cent", matrix, list(matrix.rows), cell)


def _below(matrix: Matrix, attack: str, defence: str, accuracy: float) -> float:
    """Points against the undefended model under the same attack: as the bench says, else against UNDEFENDED's."""
    if (told := matrix.figure(attack, defence, "delta_undefended")) is not None:
        return told
    plain = matrix.figure(attack, UNDEFENDED, "accuracy")
    return 0.0 if plain is None else (accuracy - plain) * 100


def _success(matrix: Matrix) -> str:
    def cell(attack: str, defence: str) -> Cell | None:
        success = matrix.figure(attack, defence, "asr")
        if success is None:
            return None
        return Cell(f"{success * 100:.0f}", f"{attack}, {defence}: {percent(success)} of the triggers work", success)

    attacks = [attack for attack, row in matrix.rows.items() if any("asr" in figures for figures in row.values())]
    return _grid("Backdoor success by attack and defence, in per cent", matrix, attacks, cell)


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair as it is drawn.

    Attributes:
        written: what stands in it.
        said: the tooltip.
        shade: 0 (faint) to 1 (full); what lies beyond is cut.
        marked: whether its corner is.
    """

    written: str
    said: str
    shade: float
    marked: bool = False


def _grid(title: str, matrix: Matrix, attacks: Sequence[str], cell: Callable[[str, str], Cell | None]) -> str:
    """Attacks as rows, defences as columns with slanted names."""
    names = [clip(defence, NAME) for defence in matrix.defences]
    if not names or not attacks:
        return empty(title, "nothing to show")
    lean = math.radians(SLANT)
    length = [len(name) * FONT * 0.62 for name in names]  # of the widest fonts in the style sheet
    rows = lay_rows(list(attacks), top=max(length) * math.sin(lean) + 16)
    right = max(8.0, length[-1] * math.cos(lean) - 10)
    pitch = (WIDTH - right - rows.left) / len(names)
    body = [*rows.labels(), _heads(names, rows.left, pitch, rows.top - 8)]
    for row, attack in enumerate(attacks):
        for column, defence in enumerate(matrix.defences):
            x, y = rows.left + column * pitch, rows.top + row * rows.pitch
            body.append(_cell(cell(attack, defence), x, y, (pitch - 1, rows.pitch - 1)))
    return figure(title, body, rows.bottom + 8)


def _heads(names: Sequence[str], left: float, pitch: float, y: float) -> str:
    parts: list[str] = []
    for column, name in enumerate(names):
        x = left + (column + 0.5) * pitch + FONT / 3
        parts.append(text(name, x, y, transform=f"rotate(-{SLANT:g} {x:.1f} {y:.1f})"))
    return "".join(parts)


def _cell(cell: Cell | None, x: float, y: float, size: tuple[float, float]) -> str:
    width, height = size
    shape = {"x": x, "y": y, "width": width, "height": height}
    if cell is None:
        return element("rect", tip("not measured"), class_="blank", **shape)
    shade = round(min(max(cell.shade, 0.0), 1.0) * STEPS)
    parts = [element("rect", tip(cell.said), class_=f"heat h{shade}", **shape)]
    ink = "on-dark" if shade >= DARK else "on-light"
    room = width >= len(cell.written) * SMALL * 0.58 + 2
    written = cell.written if room else cell.written.partition(".")[0]
    middle = {"text_anchor": "middle", "font_size": SMALL, "class_": ink}
    parts.append(text(written, x + width / 2, y + height / 2 + 4, **middle))
    if cell.marked:
        parts.append(corner(x + width, y, dark=shade >= DARK, why="worse than no defence"))
    return "".join(parts)


def _table(matrix: Matrix) -> str:
    head = ("attack", "defence", "accuracy", "against clean", "backdoor", "hostile left out", "honest left out")
    rows = [
        (
            attack,
            defence,
            _share(matrix.figure(attack, defence, "accuracy")),
            UNKNOWN if (delta := matrix.figure(attack, defence, "delta_clean")) is None else _points(delta),
            _share(matrix.figure(attack, defence, "asr")),
            _share(matrix.figure(attack, defence, "excluded_hostile")),
            _share(matrix.figure(attack, defence, "excluded_honest")),
        )
        for attack, row in matrix.rows.items()
        for defence in row
    ]
    return table(head, rows, numeric=(2, 3, 4, 5, 6))


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else percent(value)


def _points(value: float) -> str:
    return f"{value:+.1f} points"
