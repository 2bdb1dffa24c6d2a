"""What a round leaves behind to be scored: hard links to its update files, or what was said of them, and a plan.

At most one round is kept: while it is being scored the next ones are skipped. The plan is written last, so that a
folder with one is whole; after a crash the round is scored again from it, with the same result.

n rows, D parameters.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roughfed.files import disk_errors, write_durably
from roughfed.server.defence.view import Gram, Rows, view_of_files
from roughfed.server.storage.layout import SCORING_PLAN

GRAM, MODEL = "gram.f64", "model.safetensors"


@dataclass(frozen=True, slots=True)
class RetainedRound:
    """One round, as it is kept.

    Attributes:
        round: its number.
        rows: what a row is.
        names: of the n rows that count, sorted.
        weights: of each in the aggregate, not negative; they need not add up to 1.
        size: D.
        codec: of the update files.
        twins: as in `Case`.
        members: clients of each row, where rows are groups.
        left_out: clients whose update came and does not count.
    """

    round: int
    rows: Rows
    names: tuple[str, ...]
    weights: tuple[float, ...]
    size: int
    codec: str = "identity"
    twins: tuple[int, ...] = ()
    members: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    left_out: tuple[str, ...] = ()

    def shares(self, coalition: int) -> list[float]:
        """Weights of the members of a coalition, as in the aggregate of all, [n]; 0 for who is not in it."""
        total = sum(self.weights)
        return [weight / total if coalition >> at & 1 else 0.0 for at, weight in enumerate(self.weights)]


class Shelf:
    """The folder in which a round is kept."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made before something is kept."""
        self.folder = folder

    @property
    def model(self) -> Path:
        """The model that the round began with."""
        return self.folder / MODEL

    def updates(self, kept: RetainedRound) -> list[Path]:
        """The files of the rows, in order; none where only their inner products are kept."""
        return [] if kept.rows == "sketches" else [self._row(at) for at in range(len(kept.names))]

    def gram(self, kept: RetainedRound) -> Gram:
        """Inner products of the rows, float64 [n, n].

        Raises:
            StorageError: a file is gone.
        """
        n = len(kept.names)
        if kept.rows == "sketches":
            with disk_errors("read what is kept of a round"):
                return np.fromfile(self.folder / GRAM, dtype="<f8").reshape(n, n)
        order = [f"{at:06}" for at in range(n)]  # a view sorts by name
        files = dict(zip(order, self.updates(kept), strict=True))
        return view_of_files(files, size=kept.size, codec=kept.codec, rows=kept.rows).gram()

    def keep(self, kept: RetainedRound, *, model: Path, files: Sequence[Path] = (), gram: Gram | None = None) -> None:
        """Keep a round instead of what was there.

        Args:
            kept: the round.
            model: file of the model that it began with.
            files: of the rows; or else
            gram: their inner products.

        Raises:
            StorageError: the disk refused.
        """
        self.clear()
        with disk_errors("keep a round to be scored"):
            self.folder.mkdir(exist_ok=True, mode=0o700)
            _link(model, self.model)
            for at, path in enumerate(files):
                _link(path, self._row(at))
            if gram is not None:
                np.ascontiguousarray(gram, dtype="<f8").tofile(self.folder / GRAM)
        write_durably(self.folder / SCORING_PLAN, json.dumps(asdict(kept)).encode(), mode=0o600)

    def kept(self) -> RetainedRound | None:
        """The round that is kept; None where there is none."""
        with disk_errors("read what is kept of a round"):
            try:
                plan: dict[str, Any] = json.loads((self.folder / SCORING_PLAN).read_bytes())
            except FileNotFoundError:
                return None
        plan |= {name: tuple(plan[name]) for name in ("names", "weights", "twins", "left_out")}
        return RetainedRound(**plan)

    def clear(self) -> None:
        """Keep nothing any more; the plan goes first."""
        with disk_errors("clear away what was kept of a round"), suppress(FileNotFoundError):
            (self.folder / SCORING_PLAN).unlink(missing_ok=True)
            shutil.rmtree(self.folder)

    def _row(self, at: int) -> Path:
        return self.folder / f"{at:06}.row"


def _link(source: Path, target: Path) -> None:
    """The same bytes under another name, a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
