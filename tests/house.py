"""The size and the shape of the product in figures: `make house` prints them (docs/decisions/0043-server-rooms.md).

    python tests/house.py [--json]

Product is what is installed: the tracked Python files of shared/, server/, client/ and deploy/, without generated ones.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIDES = {"shared": "roughfed", "server": "roughfed.server", "client": "roughfed.client", "deploy": "roughfed.deploy"}
LONG = 60
"""Lines of a function that a reader no longer sees at once."""

Arrows = Mapping[str, set[str]]


@dataclass(frozen=True, slots=True)
class Floors:
    """How the rooms of a side stand on one another; a room is a folder or a file directly in it.

    Attributes:
        rooms: how many.
        floors: the longest way down, counted in rooms.
        circles: sets of rooms that stand on one another; imports for types count.
        largest: files that a reader chooses from in the fullest folder, however deep it lies.
    """

    rooms: int
    floors: int
    circles: list[list[str]]
    largest: tuple[str, int]


@dataclass(frozen=True, slots=True)
class House:
    """All figures.

    Attributes:
        files: of the product.
        code: its lines without docstrings, comments, imports and blank ones.
        server, client: their rooms.
        attributes: the class of server/ and client/ with the most attributes, and how many.
        names_twice: class names that stand for two things.
        types_only: imports of this package for types alone: circles that are hidden.
        long_functions: of more than `LONG` lines.
    """

    files: int
    code: int
    server: Floors
    client: Floors
    attributes: tuple[str, int]
    names_twice: int
    types_only: int
    long_functions: int


def tracked() -> dict[str, ast.Module]:
    """Path -> syntax tree of every product file."""
    names = subprocess.run(
        ["git", "ls-files", *SIDES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    chosen = [name for name in names if name.endswith(".py") and not name.startswith("shared/pb/")]
    return {name: ast.parse((ROOT / name).read_text()) for name in chosen}


def module_of(path: str) -> str:
    """Dotted name as it is imported."""
    first, *rest = Path(path).with_suffix("").parts
    return ".".join([SIDES[first], *rest]).removesuffix(".__init__")


def code_lines(name: str, tree: ast.Module) -> int:
    """Lines that hold code."""
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = (ROOT / name).read_text().splitlines()
    return sum(
        bool(text.strip()) and not text.lstrip().startswith("#") and number not in left_out
        for number, text in enumerate(lines, 1)
    )


def imports_of(tree: ast.Module, known: Iterable[str]) -> Iterator[str]:
    """Modules of the product that a file names, at any place in it."""
    known = set(known)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                if (found := inner if inner in known else node.module) in known:
                    yield found


def floors_of(side: str, trees: Mapping[str, ast.Module]) -> Floors:
    """The rooms of a side, by the imports of its files."""
    modules = {module_of(path): tree for path, tree in trees.items()}
    prefix = SIDES[side] + "."
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules.items():
        if module.startswith(prefix):
            room = module.removeprefix(prefix).split(".")[0]
            arrows[room] |= {
                found.removeprefix(prefix).split(".")[0]
                for found in imports_of(tree, modules)
                if found.startswith(prefix)
            } - {room}
    folders = Counter(
        str(Path(path).parent) for path in trees if path.startswith(f"{side}/") and "__init__" not in path
    )
    circles = circles_of(arrows)
    return Floors(len(arrows), 0 if circles else height(arrows), circles, folders.most_common(1)[0])


def circles_of(arrows: Arrows) -> list[list[str]]:
    """Rooms from which one comes back to them, as sets."""

    def reached(room: str) -> set[str]:
        found, ahead = set[str](), [room]
        while ahead:
            for other in arrows.get(ahead.pop(), set()) - found:
                found.add(other)
                ahead.append(other)
        return found

    below = {room: reached(room) for room in arrows}
    sets = {frozenset({other for other in below[room] if room in below.get(other, ())}) for room in arrows}
    return sorted(sorted(each) for each in sets if each)


def height(arrows: Arrows) -> int:
    """Rooms on the longest way down; there must be no circle."""
    known: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in known:
            known[room] = 1 + max((of(other) for other in arrows.get(room, ())), default=0)
        return known[room]

    return max(of(room) for room in arrows)


def attributes_of(node: ast.ClassDef) -> set[str]:
    """Names that a class declares, or assigns to `self`."""
    declared = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    assigned = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }
    return declared | assigned


def types_only(trees: Iterable[ast.Module]) -> int:
    """Imports of this package under `if TYPE_CHECKING`."""
    return sum(
        isinstance(each, ast.ImportFrom) and (each.module or "").startswith("roughfed")
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for each in node.body
    )


def measure() -> House:
    """The figures of this tree."""
    trees = tracked()
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    classes = [(path, node) for path, node in nodes if isinstance(node, ast.ClassDef)]
    sizes = {
        f"{path}: {node.name}": len(attributes_of(node))
        for path, node in classes
        if path.startswith(("server/", "client/"))
    }
    most = max(sizes, key=sizes.__getitem__)
    functions = [node for _, node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return House(
        files=len(trees),
        code=sum(code_lines(path, tree) for path, tree in trees.items()),
        server=floors_of("server", trees),
        client=floors_of("client", trees),
        attributes=(most, sizes[most]),
        names_twice=sum(count > 1 for count in Counter(node.name for _, node in classes).values()),
        types_only=types_only(trees.values()),
        long_functions=sum((node.end_lineno or node.lineno) - node.lineno >= LONG for node in functions),
    )


def main(args: list[str]) -> None:
    """Print them."""
    house = measure()
    if "--json" in args:
        print(json.dumps(asdict(house)))
        return
    print(f"product       {house.files} files, {house.code:,} lines of code")
    for name, side in (("server", house.server), ("client", house.client)):
        (folder, most), circles = side.largest, len(side.circles)
        print(f"{name:14}{side.rooms} rooms on {side.floors} floors, {circles} circles; {folder}: {most} files")
        for circle in side.circles:
            print(f"{'':14}circle: {', '.join(circle)}")
    print(f"most          {house.attributes[1]} attributes, {house.attributes[0]}")
    print(f"names         {house.names_twice} class names for two things")
    print(f"hidden        {house.types_only} imports for types alone")
    print(f"long          {house.long_functions} functions over {LONG} lines")


if __name__ == "__main__":
    main(sys.argv[1:])
