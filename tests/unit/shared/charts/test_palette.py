"""Series colours can be told apart by everybody.

Colour vision is simulated by the matrices of Machado, Oliveira & Fernandes (IEEE TVCG 2009, severity 1.0); a difference
is the CIE76 distance in Lab: about 2 is just noticeable side by side.
"""

import re
from itertools import combinations, pairwise

import numpy as np
import pytest

from roughfed import charts
from roughfed.report.plots import NUM_COLOURS

VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
THEMES = ["light", "dark"]


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def theme(name: str, variable: str) -> list[str]:
    """Values of the matching variables, in order, in the light or the dark half of the style sheet."""
    found = re.findall(rf"--{variable}: (#[0-9a-f]{{6}})", charts.text(charts.CSS))
    half = len(found) // 2
    return found[:half] if name == "light" else found[half:]


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("vision", VISIONS)
def test_series_stay_apart_and_neighbours_far_apart(name: str, vision: str) -> None:
    seen = [lab(VISIONS[vision] @ linear(colour)) for colour in theme(name, r"c\d")]
    assert len(seen) == NUM_COLOURS
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 12
    assert min(np.linalg.norm(a - b) for a, b in pairwise(seen)) > 25


@pytest.mark.parametrize("name", THEMES)
def test_text_and_series_stand_out_from_the_paper(name: str) -> None:
    (paper,) = theme(name, "paper")
    assert contrast(theme(name, "ink")[0], paper) > 12
    assert contrast(theme(name, "ink-quiet")[0], paper) > 4.5
    assert min(contrast(colour, paper) for colour in theme(name, r"c\d")) > 1.9
