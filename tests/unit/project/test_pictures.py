"""The pictures of the documents are those that follow from the code, and what they show is true."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from roughfed.secagg.client import State
from roughfed.secagg.server import Stage
from roughfed.server.masked.decisions import KINDS
from roughfed.wire.secagg import CLIENT_STAGES, STAGE_VALUES
from tests.docs_pictures import protocol
from tests.docs_pictures import round as one_round

DOCS = Path(__file__).parents[3] / "docs"
PICTURES = sorted(DOCS.glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
CHARACTER = 0.5  # its width in sizes of the font, and no wider: what leaves the picture by this is cut off everywhere
BROWSERS_FONT = 16.0


def test_the_committed_pictures_are_what_the_code_gives() -> None:
    for name, draw in (("protocol", protocol.draw), ("round", one_round.draw)):
        committed = (DOCS / f"{name}.svg").read_text()
        assert committed == draw(), f"python -m tests.docs_pictures.{name} > docs/{name}.svg"


def test_the_protocol_names_every_state_stage_message_and_fact() -> None:
    said = {(each.text or "").strip("()").removesuffix(", signed") for each in ET.fromstring(protocol.draw()).iter()}
    states = {state.name.lower() for state in State if state is not State.OUT}

    assert said >= states | {stage.name.lower() for stage in Stage}
    assert said >= {*CLIENT_STAGES, *STAGE_VALUES, *KINDS.values()}


def test_the_numbers_of_the_round_are_masked_and_add_up() -> None:
    parties, sent, own = one_round.PARTIES, one_round.masked(), one_round.self_masks()
    kept = [at for at, party in enumerate(parties) if not party.hostile]
    everybody = (sent.sum(axis=0) - own.sum(axis=0)) % one_round.LANE

    np.testing.assert_array_equal(everybody, np.sum([p.codes for p in parties], axis=0) % one_round.LANE)
    assert not any(np.array_equal(row, party.codes % one_round.LANE) for row, party in zip(sent, parties, strict=True))
    np.testing.assert_array_equal(one_round.total(), np.sum([parties[at].codes for at in kept], axis=0))


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_picture_brings_the_styles_of_its_classes(path: Path) -> None:
    """A class without a style is drawn black on black."""
    root = ET.fromstring(path.read_text())
    used = {name for each in root.iter() for name in each.get("class", "").split()}
    assert used
    assert used <= set(re.findall(r"\.([a-z][\w-]*)", _styles(root)))


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_nothing_lies_outside_of_a_picture(path: Path) -> None:
    root = ET.fromstring(path.read_text())
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    font = re.search(r"font: (\d+)px", _styles(root))
    size = float(font[1]) if font else BROWSERS_FONT
    places = [place for each in root.iter() for place in _corners(each, size)]

    assert len(places) > 20
    for x, y in places:
        assert left - 1 <= x <= left + width + 1, (x, y)
        assert top - 1 <= y <= top + height + 1, (x, y)


def _styles(root: ET.Element) -> str:
    return "".join(each.text or "" for each in root.iter(f"{SVG}style"))


def _corners(shape: ET.Element, font: float) -> list[tuple[float, float]]:
    """Points that a shape reaches; of a text the ends of its line."""
    if shape.tag == f"{SVG}path":  # where it begins; the rest is near
        start = re.match(r"M\s*([\d.-]+)[ ,]([\d.-]+)", shape.get("d", ""))
        return [(float(start[1]), float(start[2]))] if start else []
    value = {name: float(shape.get(name, 0)) for name in ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r")}
    if shape.tag == f"{SVG}line":
        return [(value["x1"], value["y1"]), (value["x2"], value["y2"])]
    if shape.tag == f"{SVG}circle":
        return [(value["cx"] + side * value["r"], value["cy"] + side * value["r"]) for side in (-1, 1)]
    x, y = value["x"], value["y"]
    if shape.tag == f"{SVG}rect" and not shape.attrib["height"].endswith("%"):
        return [(x, y), (x + float(shape.attrib["width"]), y + float(shape.attrib["height"]))]
    if shape.tag != f"{SVG}text":
        return []
    length = len("".join(shape.itertext())) * float(shape.get("font-size", font)) * CHARACTER
    before = {"end": length, "middle": length / 2}.get(shape.get("text-anchor", ""), 0.0)
    turned = re.match(r"rotate\(([\d.-]+) ", shape.get("transform", ""))
    angle = math.radians(float(turned[1])) if turned else 0.0
    ends = (-before, length - before)
    return [(x + end * math.cos(angle), y + end * math.sin(angle)) for end in ends]
