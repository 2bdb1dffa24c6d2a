"""With `server_sees = "sums"` and a defence: the groups' sums kept apart, each decoded to a row for it to judge.

A group's sum of codes and its mean go to files as soon as it is unmasked, so memory holds one group at a time, however
many there are. Where the rule chooses, the codes of the groups that count are added up and decoded once: to the bit
what the sum of their clients gives without a defence. After a crash the groups are unmasked again, to the same files.

D parameters, M codes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.codec import CHAIN
from roughfed.crypto.masks import Lanes
from roughfed.files import disk_errors
from roughfed.masked_round import Masking
from roughfed.secagg.adverts import FULL
from roughfed.server.defence import View, view_of_files
from roughfed.server.metrics.stopwatch import Stopwatch

KEEP, READ = "keep the sum of a group", "read the sum of a group"  # paths of this machine stay on it


def row_name(number: int) -> str:
    """Name of a group's row; numbers have three digits, so that the order of the names is theirs."""
    return f"group-{number:03}"


class Apart:
    """The groups of one round that gave a sum."""

    def __init__(self, folder: Path, masking: Masking, work: Stopwatch | None = None) -> None:
        """Nothing is there yet; `folder`: where the files go, `work`: notes how long decoding takes."""
        self._folder, self._masking, self._work = folder, masking, work or Stopwatch()
        self._clients: dict[int, int] = {}

    def put(self, number: int, codes: Lanes, quarters: Collection[int]) -> None:
        """Keep one group.

        Args:
            number: of the group.
            codes: sum of its accepted clients' codes, unsigned [M], within its honest range.
            quarters: the weight class of each of them.

        Raises:
            StorageError: the disk refused.
        """
        from roughfed.codec.chain import decode_sum  # the kernels: loaded where there is something to decode

        with self._work.time("decode", CHAIN):
            mean = decode_sum(codes, len(quarters), self._masking.params, weight=sum(quarters) / FULL)
        with disk_errors(KEEP):
            codes.tofile(self._codes(number))
            mean.astype("<f4", copy=False).tofile(self._mean(number))
        self._clients[number] = len(quarters)

    @property
    def clients(self) -> int:
        """Clients behind all the rows."""
        return sum(self._clients.values())

    @property
    def means(self) -> dict[str, Path]:
        """Name of the row -> its file, bare float32 [D]."""
        return {row_name(number): self._mean(number) for number in self._clients}

    def view(self, extras: Mapping[str, Path]) -> View:
        """What the defence is shown; `extras`: files of the server's own rows."""
        return view_of_files(self.means, size=self._masking.params.size, rows="groups", extras=extras)

    def total(self, numbers: Collection[int]) -> NDArray[np.uint32] | None:
        """Sum of the codes of these groups, [M]; None for none.

        Raises:
            StorageError: a file is gone.
        """
        total: NDArray[np.uint32] | None = None
        for number in sorted(numbers):
            with disk_errors(READ):
                codes = np.memmap(self._codes(number), dtype=self._masking.terms.dtype, mode="r")
            if total is None:
                total = codes.astype(np.uint32)
            else:
                np.add(total, codes, out=total, casting="unsafe")
        return total

    def discard(self) -> None:
        """Delete the files."""
        for number in self._clients:
            self._codes(number).unlink(missing_ok=True)
            self._mean(number).unlink(missing_ok=True)

    def _codes(self, number: int) -> Path:
        return self._folder / f"{row_name(number)}.sum"

    def _mean(self, number: int) -> Path:
        return self._folder / f"{row_name(number)}.mean"
