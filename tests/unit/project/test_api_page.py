"""docs/api.md: what users import, out of its docstrings, and its examples work.

`python tests/unit/project/test_api_page.py` writes it.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import roughfed
from roughfed.client.api import Round
from roughfed.client.trainer.parts import Batch, Context, Hooks
from roughfed.server.defence.rule import Rule, Situation
from roughfed.server.defence.verdict import Coefficients, Coordinatewise, Verdict
from roughfed.server.defence.view import View, view_of_arrays

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "api.md"

ABOUT = """\
# What you import

Written by `python tests/unit/project/test_api_page.py` from the docstrings; its examples are run by the same file.
A name that is not on this page may change from one version to the next.
"""

CLIENT = """\
<!-- run: tests/unit/project/test_api_page.py::test_the_clients_example_trains -->
```python
from roughfed import Client

client = Client(Net, train=(x, y), test=(x_test, y_test))


@client.fit
def fit(model, loader, round):
    optimizer = torch.optim.SGD(model.parameters(), lr=round.lr)
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return {"batches": len(loader)}
```
"""

RULE = '''\
<!-- run: tests/unit/project/test_api_page.py::test_the_rules_example_judges -->
```python
from roughfed.server.defence.rule import Rule, Situation
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.view import View


def judge(view: View, situation: Situation) -> Verdict:
    """Leave out the longest row."""
    longest = max(range(len(view)), key=lambda row: view.gram()[row, row])
    return Verdict({view.names[longest]: "longest"})


LONGEST = Rule("leaves out the longest row", ("updates", "groups"), lambda f: 3, judge)
```
'''

CHAPTERS: tuple[tuple[str, str, str, tuple[Any, ...]], ...] = (
    (
        "A data owner's model and data",
        "A script of your own; [data.md](data.md) says what data may be.",
        CLIENT,
        (roughfed.Client, Round, roughfed.Stream, roughfed.WatchedFolder, roughfed.Arriving),
    ),
    (
        "A defence of your own",
        "An entry point of the group `roughfed.defences` ([defences.md](defences.md)); `view_of_arrays` is to try it.",
        RULE,
        (Rule, Situation, View, view_of_arrays, Verdict, Coefficients, Coordinatewise),
    ),
    (
        "A part of a local training",
        "A file in a room of `client/trainer/` and a row in `shared/methods/` ([CONTRIBUTING.md](../CONTRIBUTING.md)).",
        "",
        (Hooks, Context, Batch),
    ),
)

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}[\w, *]+): (.*)$")


def document() -> str:
    """The whole page."""
    parts = [ABOUT]
    for title, about, example, things in CHAPTERS:
        parts += [f"## {title}\n", f"{about}\n", *([example] if example else [])]
        for thing in things:
            parts += entries(thing)
    return "\n".join(parts).rstrip() + "\n"


def entries(thing: Any) -> Iterator[str]:
    """One function, or a class with its public methods."""
    place = "roughfed" if thing.__name__ in roughfed.__all__ else thing.__module__
    yield f"### {thing.__name__}\n"
    yield f"`{place}.{thing.__name__}{signature(thing)}`\n"
    yield markdown(thing.__doc__)
    if not inspect.isclass(thing):
        return
    if told := getattr(vars(thing).get("__init__"), "__doc__", None):
        yield markdown(told)
    for name, member in vars(thing).items():
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            called = "" if isinstance(member, property) else signature(function)
            yield f"**`{name}{called}`** {markdown(function.__doc__)}"


def signature(thing: Any) -> str:
    """Names of the parameters, and the short ones of their defaults."""
    shown: list[str] = []
    for each in inspect.signature(thing).parameters.values():
        if each.name != "self" and not each.name.startswith("_"):
            star = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
            plain = isinstance(each.default, bool | int | float | str | None)
            shown.append(f"{star}{each.name}" + (f"={each.default!r}" if plain else ""))
    return f"({', '.join(shown)})"


def markdown(docstring: str) -> str:
    """Prose as it is, sections as lists."""
    prose, *sections = SECTION.split(inspect.cleandoc(docstring))
    parts = [joined(prose)]
    for heading, text in zip(sections[::2], sections[1::2], strict=True):
        body, _, after = textwrap.dedent(text.strip("\n")).partition("\n\n")
        parts += [f"{heading}:\n", "\n".join(items(body, named=heading != "Returns")) + "\n"]
        parts += [joined(after)] if after.strip() else []
    return "\n".join(parts)


def items(body: str, *, named: bool) -> list[str]:
    """The entries of a section, each on one line."""
    lines: list[str] = []
    for line in body.splitlines():
        if named and (found := ENTRY.match(line)):
            lines.append(f"* `{found[1]}`: {found[2]}")
        elif lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(f"* {line.strip()}")
    return lines


def joined(prose: str) -> str:
    """Paragraphs, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in prose.strip().split("\n\n")) + "\n"


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text() == document(), "run: python tests/unit/project/test_api_page.py"


def test_all_that_the_package_exports_is_on_the_page() -> None:
    assert {f"### {name}" for name in roughfed.__all__ if name != "__version__"} <= set(PAGE.read_text().splitlines())


def code_of(example: str) -> str:
    """The lines between the fences."""
    return example.partition("```python\n")[2].rpartition("```")[0]


def test_the_clients_example_trains() -> None:
    x, y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    space: dict[str, Any] = {"torch": torch, "Net": lambda: torch.nn.Linear(3, 2)}
    space |= {"x": x, "y": y, "x_test": x, "y_test": y}
    exec(code_of(CLIENT), space)
    model, batch = torch.nn.Linear(3, 2), (torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    before = model.bias.detach().clone()
    assert space["client"].loop(model, [batch], Round(1, 0.5, 1, 4, 0.0, 0.0, "cpu", 0)) == {"batches": 1}
    assert not torch.equal(model.bias, before)


def test_the_rules_example_judges() -> None:
    space: dict[str, Any] = {}
    exec(code_of(RULE), space)
    view = view_of_arrays({name: np.full(4, size, np.float32) for name, size in (("a", 1), ("b", 5), ("c", 2))})
    assert space["LONGEST"].judge(view, Situation(1)).excluded == {"b": "longest"}


if __name__ == "__main__":
    PAGE.write_text(document())
