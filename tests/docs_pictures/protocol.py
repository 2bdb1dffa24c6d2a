"""docs/protocol.svg, drawn from the tables: one group and one client in a masked round, message by message.

`python -m tests.docs_pictures.protocol > docs/protocol.svg` writes it; a test compares. The client's states and
messages come from `roughfed.secagg.client.TRANSITIONS`, its answers from
`roughfed.client.round.masked_part.ANSWERS`, the group's stages from `roughfed.secagg.server.Stage`, what is
journaled from `roughfed.server.masked.decisions.KINDS`.
"""

from __future__ import annotations

import sys

from roughfed.client.round.masked_part import ANSWERS
from roughfed.secagg.client import TRANSITIONS, State
from roughfed.secagg.server import Stage
from roughfed.server.masked.decisions import KINDS
from roughfed.wire.secagg import SIGNED_STAGES, STAGE_VALUES
from tests.bench.plots.svg import WIDTH, element, figure, standalone, text

OPENS = {
    "roster": Stage.DEALING,
    "deals": Stage.MASKING,
    "seed": Stage.SKETCHING,
    "sets": Stage.AGREEING,
    "unmask": Stage.UNMASKING,
}
"""The stage of the group that begins with a message."""

BEFORE = {"sketched": "sets"}
"""The fact that is decided before the verdicts; each other one before the message in the same place."""

JOURNALED = dict(zip(ANSWERS, (fact for fact in KINDS.values() if fact not in BEFORE), strict=True))
"""Which fact is in the server's journal before a message is sent."""

SHORT_CUTS = {State.MASKED: "no sketch", State.READY: "too late"}
"""Why a client is shown sets before a seed."""

SERVER, CLIENT, BOX, STEP = 190.0, 416.0, 96.0, 30.0
TITLE = "A masked round: the server's group on the left, one client on the right"


class Sheet:
    """What is drawn so far, from top to bottom."""

    def __init__(self) -> None:
        """An empty sheet."""
        self.parts: list[str] = []
        self.y = 34.0
        self.at: dict[State, float] = {}

    def box(self, x: float, label: str) -> None:
        """A state of one side, at the current height."""
        style = "fill:var(--paper);stroke:var(--axis)"
        self.parts.append(element("rect", x=x - BOX / 2, y=self.y - 12, width=BOX, height=24, rx=6, style=style))
        self.parts.append(text(label, x, self.y + 4.5, text_anchor="middle", class_="strong"))

    def stage(self, stage: Stage) -> None:
        """The group enters a stage."""
        self.box(SERVER, stage.name.lower())

    def state(self, state: State) -> None:
        """The client enters a state."""
        self.at[state] = self.y
        self.box(CLIENT, state.name.lower())

    def arrow(self, label: str, *, to_client: bool) -> None:
        """A message."""
        left, right = SERVER + BOX / 2 + 4, CLIENT - BOX / 2 - 4
        tip, back = (right, right - 7) if to_client else (left, left + 7)
        self.parts.append(element("line", x1=left, x2=right, y1=self.y, y2=self.y, style="stroke:var(--ink)"))
        head = f"M{tip:g} {self.y:g}L{back:g} {self.y - 4:g}L{back:g} {self.y + 4:g}Z"
        self.parts.append(element("path", d=head, style="fill:var(--ink)"))
        self.parts.append(text(label, (left + right) / 2, self.y - 5, text_anchor="middle"))

    def aside(self, words: str, *, of_client: bool) -> None:
        """What one side does by itself."""
        x, anchor = (CLIENT + BOX / 2 + 8, "start") if of_client else (SERVER - BOX / 2 - 8, "end")
        self.parts.append(text(words, x, self.y + 4.5, text_anchor=anchor, class_="quiet"))

    def down(self, rows: float = 1) -> None:
        """Go on below."""
        self.y += rows * STEP

    def skip(self, start: State, end: State, words: str, lane: int) -> None:
        """A transition that leaves states out, beside the column."""
        x, edge = CLIENT + BOX / 2 + 16 + 74 * lane, CLIENT + BOX / 2
        y, z = self.at[start] + 8, self.at[end] - 6 + 5 * lane
        line = f"M{edge:g} {y:g}H{x:g}V{z:g}H{edge:g}"
        self.parts.append(element("path", d=line, style="fill:none;stroke:var(--axis);stroke-dasharray:4 3"))
        self.parts.append(element("path", d=f"M{edge:g} {z:g}l7 -4v8Z", style="fill:var(--axis)"))
        self.parts.append(text(words, x + 5, (y + z) / 2, class_="quiet"))


def draw() -> str:
    """The picture, an SVG document."""
    sheet, kinds = Sheet(), {value: kind for kind, value in STAGE_VALUES.items()}
    sheet.parts.append(element("rect", width=WIDTH, height="100%", style="fill:var(--paper)"))
    sheet.parts += [text(who, x, 14, text_anchor="middle", class_="quiet") for who, x in _heads()]
    sheet.state(State.ADVERTISED)
    sheet.aside("secret written ahead", of_client=True)
    sheet.down()
    sheet.arrow("advertise", to_client=False)
    done: set[str] = set()
    cuts: list[State] = []
    for (start, message), state in TRANSITIONS.items():
        if (kind := kinds[message]) not in done:
            done.add(kind)
            _exchange(sheet, kind, state)
        elif kind == "sets":
            cuts.append(start)
        if state is State.READY:
            _upload(sheet)
    sheet.down()
    sheet.stage(Stage.DONE)
    sheet.aside("sum checked", of_client=False)
    for lane, start in enumerate(cuts):
        sheet.skip(start, State.AGREED, SHORT_CUTS[start], lane)
    return standalone(figure(TITLE, sheet.parts, sheet.y + 24)) + "\n"


def _heads() -> tuple[tuple[str, float], ...]:
    return ("journaled first", 84), ("server", SERVER), ("client", CLIENT)


def _exchange(sheet: Sheet, kind: str, state: State) -> None:
    """One message of the server, where it leads the client, and what it answers."""
    sheet.down()
    for fact in (fact for fact, message in BEFORE.items() if message == kind):
        sheet.stage(Stage.JUDGING)
        sheet.aside(fact, of_client=False)
        sheet.down()
    if kind in OPENS:
        sheet.stage(OPENS[kind])
    sheet.aside(JOURNALED[kind], of_client=False)
    sheet.arrow(f"{kind}, signed" if kind in SIGNED_STAGES else kind, to_client=True)
    if state not in sheet.at:  # a conflict, once for each dispute, changes nothing
        sheet.state(state)
    sheet.down()
    answer = ANSWERS[kind]
    sheet.arrow(f"({answer})" if kind == "deals" else answer, to_client=False)


def _upload(sheet: Sheet) -> None:
    """What is no message of the conversation: training ends, the masked update goes up."""
    sheet.down()
    sheet.state(State.MASKED)
    sheet.aside("on disk first", of_client=True)
    sheet.down()
    sheet.arrow("PutUpdate", to_client=False)
    sheet.aside("receipt", of_client=False)


if __name__ == "__main__":
    sys.stdout.write(draw())
