"""Lays the four source folders out as the package that they are installed as.

    python tests/tree.py TARGET

makes TARGET/roughfed of real folders with a link for every file, so that grimp and basedpyright, which cannot follow
the map of an editable install, see `roughfed.server.app` where `server/app.py` lies. Running it again follows new and
removed files.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"shared": "roughfed", "server": "roughfed/server", "client": "roughfed/client", "deploy": "roughfed/deploy"}
SUFFIXES = {".py", ".pyi", ".typed"}


def lay(target: Path) -> None:
    """Make or refresh `target`/roughfed."""
    wanted = {
        target / package / path.relative_to(ROOT / folder): path
        for folder, package in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts
    }
    for link in target.rglob("*"):
        if link.is_symlink() and link not in wanted:
            link.unlink()
    for link, path in wanted.items():
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(path, link.parent))


if __name__ == "__main__":
    lay(Path(sys.argv[1]).absolute())
