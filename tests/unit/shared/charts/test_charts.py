"""The vendored files are those that were published, and what is said of them holds."""

from __future__ import annotations

import hashlib
import re

import pytest

from roughfed import charts
from roughfed.report.chart import FORMS

VENDORED = ("d3.min.js", "plot.umd.min.js")
OWN = charts.text("charts.js")


@pytest.mark.parametrize("name", VENDORED)
def test_a_vendored_file_is_as_published(name: str) -> None:
    line = next(line for line in charts.text("LICENSES.txt").splitlines() if line.startswith(name))
    assert hashlib.sha256(charts.text(name).encode()).hexdigest() == line.split()[-1]
    version = re.search(r"v?(\d+\.\d+\.\d+)", line)
    assert version is not None
    assert version[1] in charts.text(name).splitlines()[0]


def test_the_licences_stand_beside_them_and_fit_into_a_comment() -> None:
    words = charts.text("LICENSES.txt")
    assert "Permission to use, copy, modify, and/or distribute" in words
    for name in VENDORED:
        who = re.search(r"Copyright .*?(?=\.?\n)", charts.text(name))
        assert who is not None
        assert who[0] in words
    assert "-->" not in words


@pytest.mark.parametrize("name", charts.SCRIPTS)
def test_a_script_can_stand_inside_of_a_page(name: str) -> None:
    assert not re.search(r"</script|<!--", charts.text(name), re.IGNORECASE)


def test_the_policy_knows_the_rules_that_plot_brings() -> None:
    """The style element of a drawing: the same text in every chart, but for a class that never changes."""
    source = charts.text("plot.umd.min.js")
    start = source.index("--plot-background: white")
    rules = source[source.rindex("`", 0, start) + 1 : source.index("`", start)].replace("\\n", "\n")
    (class_,) = set(re.findall(r'"(plot-[0-9a-f]{6})"', source))
    assert charts.source_hash(re.sub(r"\$\{\w+\}", class_, rules)) == charts.PLOT_STYLE


def test_numbers_have_the_same_forms_on_both_sides() -> None:
    listed = re.search(r"const FORMS = \{(.*?)\};", OWN)
    assert listed is not None
    named = {part.split(":")[0].strip() for part in re.sub(r"\(.*?\)|\[.*?\]", "", listed[1]).split(",")}
    assert {name for name in named if name.isidentifier()} == set(FORMS)
