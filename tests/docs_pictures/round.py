"""docs/round.svg: one round of four clients, one of them hostile, with numbers that are really masked and added up.

`python -m tests.docs_pictures.round > docs/round.svg` writes it; a test compares, and does the sum again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.bench.plots.svg import element, plot_css, text, tip

WIRES = (("mutual TLS", 74), ("a quarter", 100), ("of the bytes", 114))
TITLE = "One round: four clients train, mask and send; the server leaves the poisoned one out and learns only the sum"
WIDTH, HEIGHT = 1040, 486
LANE = 256
"""Codes are masked modulo this: lanes of 8 bits."""

CELL, WIRE, ROW = 26, 28, 22
"""Width of a cell of an update, of a masked one, and height of both."""

LEFT, CARD, CARD_HEIGHT, STEP = 12, 528, 88, 98
RIGHT, BOX = 640, 388
INK, QUIET, BAD = "var(--ink)", "var(--ink-quiet)", "var(--c1)"


@dataclass(frozen=True, slots=True)
class Party:
    """One client.

    Attributes:
        name: as enrolled.
        rough: what is wrong with its data.
        bars: its data, as small bars: examples by class.
        wrong: which of the bars are mislabelled.
        codes: what its training found, rounded; int64 [n].
    """

    name: str
    rough: str
    bars: tuple[int, ...]
    wrong: tuple[int, ...]
    codes: NDArray[np.int64]
    hostile: bool = False


PARTIES = (
    Party("hospital-a", "a long tail", (27, 18, 11, 6, 4, 2), (), np.array([3, -1, 4, 0, -2, 5])),
    Party("hospital-b", "wrong labels", (18, 21, 17, 19, 21, 18), (1, 4), np.array([2, -2, 5, 1, -1, 4])),
    Party("hospital-c", "new data every day", (4, 6, 9, 14, 20, 27), (), np.array([4, -1, 3, 1, -3, 6])),
    Party("hospital-d", "an attacker", (18, 18, 18, 18, 18, 18), (), np.array([-7, 6, -8, -5, 7, -8]), hostile=True),
)


def masked(parties: tuple[Party, ...] = PARTIES, *, seed: int = 3) -> NDArray[np.int64]:
    """What each one sends: its codes, a mask of its own, and one with each other that the other takes off.

    Returns:
        values in 0..255, [clients, n].
    """
    rng = np.random.default_rng(seed)
    sent = np.array([p.codes for p in parties]) + self_masks(parties, seed=seed)  # [clients, n]
    for i in range(len(parties)):
        for j in range(i + 1, len(parties)):
            pair = rng.integers(0, LANE, sent.shape[1])
            sent[i] += pair
            sent[j] -= pair
    return sent % LANE


def self_masks(parties: tuple[Party, ...] = PARTIES, *, seed: int = 3) -> NDArray[np.int64]:
    """The masks that each client has of its own, [clients, n]; the group's shares open those of the accepted."""
    return np.random.default_rng(seed + 1).integers(0, LANE, (len(parties), len(parties[0].codes)))


def total() -> NDArray[np.int64]:
    """The sum that the server learns: of the accepted clients' codes, [n]."""
    return np.sum([p.codes for p in PARTIES if not p.hostile], axis=0)


def draw() -> str:
    """The picture, an SVG document."""
    parts = [f"<style>{plot_css()}.plot .num{{font-size:11px}}.plot .head{{font-size:14px;font-weight:600}}</style>"]
    parts += [tip(TITLE), element("rect", width=WIDTH, height=HEIGHT, style="fill:var(--paper)")]
    parts += [
        text("on the clients' machines", LEFT, 26, class_="head"),
        text("on the server", RIGHT, 26, class_="head"),
    ]
    parts += [text(words, (LEFT + CARD + RIGHT) / 2, y, class_="quiet num", text_anchor="middle") for words, y in WIRES]
    for at, (party, row) in enumerate(zip(PARTIES, masked(), strict=True)):
        parts += _card(party, row, 42 + at * STEP)
    parts += _server()
    parts += _back()
    svg = element(
        "svg",
        "".join(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="plot",
        role="img",
        aria_label=TITLE,
    )
    return svg + "\n"


def _card(party: Party, sent: NDArray[np.int64], top: float) -> list[str]:
    """One client: its data, what it learned, what leaves the machine."""
    edge = BAD if party.hostile else "var(--rule)"
    parts = [_frame(LEFT, top, CARD, CARD_HEIGHT, edge)]
    parts += [
        text(party.name, LEFT + 14, top + 24, class_="strong"),
        text(party.rough, LEFT + 14, top + 42, class_="quiet"),
    ]
    for at, height in enumerate(party.bars):
        colour = BAD if at in party.wrong or party.hostile else "var(--c0)"
        bar = {"x": LEFT + 14 + at * 15, "y": top + 78 - height, "width": 11, "height": height}
        parts.append(element("rect", **bar, rx=2, style=f"fill:{colour}"))  # pyright: ignore[reportArgumentType]
    strip, wire = LEFT + 158, LEFT + CARD - 14 - 6 * WIRE
    parts += [text("trains", strip, top + 25, class_="quiet"), *_cells(party.codes, strip, top + 34)]
    parts += [text("sends", wire, top + 25, class_="quiet"), *_cells(sent, wire, top + 34, noise=True)]
    parts += _arrow(strip + 6 * CELL + 3, wire - 4, top + 34 + ROW / 2, QUIET)
    parts.append(text("clipped, rounded, masked", wire, top + 74, class_="quiet num"))
    parts += _arrow(LEFT + CARD + 6, RIGHT - 8, top + CARD_HEIGHT / 2, BAD if party.hostile else INK)
    return parts


def _cells(values: NDArray[np.int64], x: float, y: float, *, noise: bool = False, unit: float = 8.0) -> list[str]:
    """A strip of numbers; blue is above zero, orange below, grey says nothing."""
    width, parts = WIRE if noise else CELL, list[str]()
    for at, value in enumerate(values.tolist()):
        share = value / LANE if noise else min(1.0, abs(value) / unit)
        colour = "var(--axis)" if noise else "var(--c0)" if value >= 0 else BAD
        left = x + at * width
        style = f"fill:{colour};fill-opacity:{0.12 + 0.45 * share:.2f}"
        parts.append(element("rect", x=left, y=y, width=width - 2, height=ROW, rx=3, style=style))
        written = f"{value}" if noise else f"{value:+d}".replace("-", "\u2212").replace("+0", "0")
        parts.append(text(written, left + width / 2 - 1, y + 15, class_="num", text_anchor="middle"))
    return parts


def _server() -> list[str]:
    """Four steps, from what came to the next version."""
    lines = (
        ("1  sees masks, and 128 numbers of each update", "each number is checked against what was sent"),
        ("2  finds who pulls where the others do not", ""),
        ("3  opens the sum of the others, and nothing else", ""),
        ("4  weighs, steps, commits version n + 1", "receipts, verdicts and the sum are on disk first"),
    )
    parts: list[str] = []
    for at, (head, more) in enumerate(lines):
        top = 42 + at * STEP
        parts += [
            _frame(RIGHT, top, BOX, CARD_HEIGHT, "var(--rule)"),
            text(head, RIGHT + 16, top + 26, class_="strong"),
        ]
        if more:
            parts.append(text(more, RIGHT + 16, top + 50, class_="quiet"))
        if at:
            parts += _down(RIGHT + BOX / 2, top - (STEP - CARD_HEIGHT) - 1)
    parts.append(text("a lie about them names its liar in the same round", RIGHT + 16, 42 + 68, class_="quiet"))
    for at, party in enumerate(PARTIES):
        x, y = RIGHT + 16 + at * 92, 42 + STEP + 42
        colour, sign = (BAD, "\u2715") if party.hostile else (INK, "\u2713")
        parts.append(text(f"{sign} {party.name[-1]}", x, y + 4, class_="strong", style=f"fill:{colour}"))
        words = "left out" if party.hostile else "kept"
        parts.append(text(words, x, y + 24, class_="quiet", style=f"fill:{QUIET}"))
    parts += _cells(total(), RIGHT + 16, 42 + 2 * STEP + 42, unit=16.0)
    parts.append(text("= a + b + c, exactly", RIGHT + 16 + 6 * CELL + 10, 42 + 2 * STEP + 57, class_="quiet"))
    parts.append(
        text("watched: terminal, web page, Prometheus, ledger", RIGHT + 16, 42 + 3 * STEP + 70, class_="quiet")
    )
    return parts


def _frame(x: float, y: float, width: float, height: float, edge: str) -> str:
    return element(
        "rect", x=x, y=y, width=width, height=height, rx=10, style=f"fill:none;stroke:{edge};stroke-width:1.2"
    )


def _arrow(left: float, right: float, y: float, colour: str) -> list[str]:
    tip_at = f"M{right:g} {y:g}l-8 -4.5v9Z"
    return [
        element("line", x1=left, x2=right - 6, y1=y, y2=y, style=f"stroke:{colour};stroke-width:1.4"),
        element("path", d=tip_at, style=f"fill:{colour}"),
    ]


def _down(x: float, y: float) -> list[str]:
    return [element("path", d=f"M{x:g} {y + 10:g}l-4.5 -7h9Z", style=f"fill:{INK}")]


def _back() -> list[str]:
    """The next model goes back to everybody."""
    y, left, right = 466, LEFT + CARD / 2, RIGHT + BOX / 2
    path = f"M{right:g} 428V{y:g}H{left:g}V436"
    return [
        element("path", d=path, style=f"fill:none;stroke:{INK};stroke-width:1.4"),
        element("path", d=f"M{left:g} 428l-4.5 8h9Z", style=f"fill:{INK}"),
        text(
            "the next model, as a small difference; the same bits for everybody",
            (left + right) / 2,
            y - 8,
            class_="quiet",
            text_anchor="middle",
        ),
    ]


if __name__ == "__main__":
    sys.stdout.write(draw())
