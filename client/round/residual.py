"""What a lossy codec did not say, kept for the next update (error feedback: Seide et al., Interspeech 2014).

A new residual is only proposed with the update that it comes from. It replaces the old one when the server says that
this update is in the sum, and is dropped otherwise: what was not taken was not said at all, so the old one still holds.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from roughfed.file_pool import keep_as_spare, retire, written_over
from roughfed.files import disk_errors
from roughfed.params import Flat


class Residual:
    """The residual of one client in one run, in a folder of its own.

    Nothing is synced: a power cut may cost what is there, never a round. A file that it cut short is no residual; one
    that was written over may hold an older one in parts: one update is then off by less than C.
    """

    def __init__(self, folder: Path, spare: Path) -> None:
        """In `folder`, which is made when there is something to keep; `spare`: of the client's residuals."""
        self._folder = folder
        self._current, self._spare = folder / "residual.f32", spare

    def load(self) -> Flat | None:
        """The residual, float32 [D], mapped read-only; None for zeros.

        Raises:
            StorageError: the disk refused.
        """
        with disk_errors("read the residual"):
            if not self._current.exists() or not (size := self._current.stat().st_size) or size % 4:
                return None
            return np.memmap(self._current, dtype="<f4", mode="r")

    def begin(self, round_number: int, size: int) -> Flat:
        """Where the residual of a round is made: float32 [size], mapped, with anything in it; `propose` closes it.

        Older rounds' proposals are dropped: nobody decided. The thread of a round that was abandoned, which nobody can
        stop, may come here beside that of the next one: each writes under its own round's name, and drops what is older
        alone.

        Raises:
            StorageError: the disk refused.
        """
        with disk_errors("store the residual"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for old in self._folder.glob("proposed-*"):
                if old.stem < self._proposed(round_number).stem:
                    old.unlink(missing_ok=True)
        return written_over(self._partial(round_number), self._spare, 4 * size).view("<f4")

    def propose(self, round_number: int, size: int) -> None:
        """Note the first `size` values of what was begun as what the update does not say; `finalize` decides.

        Raises:
            StorageError: the disk refused.
        """
        partial = self._partial(round_number)
        with disk_errors("store the residual"):
            os.truncate(partial, 4 * size)
            partial.replace(self._proposed(round_number))

    def finalize(self, round_number: int, accepted: bool) -> None:
        """The server's word on a round: its update counts, or does not. Without a proposal nothing happens.

        Raises:
            StorageError: the disk refused.
        """
        proposed = self._proposed(round_number)
        if not proposed.exists():
            return
        if accepted:
            keep_as_spare(self._current, self._spare)
            with disk_errors("store the residual"):
                proposed.replace(self._current)
        else:
            retire(proposed, self._spare)

    def _proposed(self, round_number: int) -> Path:
        return self._folder / f"proposed-{round_number:08d}.f32"

    def _partial(self, round_number: int) -> Path:
        return self._proposed(round_number).with_suffix(".partial")
