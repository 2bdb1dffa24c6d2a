"""How many threads a trainer computes with, and how they wait for one another.

libgomp's threads wait by turning round and round. Where several trainers share the cores, they turn instead of those
who have work to do: rounds take 20 to 200 times as long. So threads sleep when they wait, and trainers that were told
no number share the cores: each looks before each request how many there are.
"""

from __future__ import annotations

import logging
import os

from roughfed.cores import Place, cores_here, folder_of_places, share_of

log = logging.getLogger(__name__)

POLICY = "OMP_WAIT_POLICY"
PASSIVE = {POLICY: "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Of GCC's OpenMP, which torch ships for Linux, and of LLVM's and Intel's, which other builds bring."""


class Threads:
    """The threads of this process."""

    def __init__(self, wanted: int) -> None:
        """Take a place among the trainers of this host where they share; `wanted` 0 shares."""
        self._wanted, self._set, self._place = wanted, 0, None
        if not wanted:
            try:
                self._place = Place(folder_of_places())
            except OSError as error:
                log.warning("this trainer cannot count the others on this host, and takes all cores: %s", error)

    def prepare(self) -> None:
        """Set the environment. Before torch and numpy are loaded: they read it once."""
        count, _ = self._now()
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(count)
        if PASSIVE.keys().isdisjoint(os.environ):  # else the owner has decided
            os.environ.update(PASSIVE)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with this

    def apply(self) -> None:
        """Let torch take as many as there are for this trainer now."""
        import torch

        count, why = self._now()
        if count != self._set:
            self._set = count
            torch.set_num_threads(count)
            log.info("threads: %d of %d cores%s", count, cores_here(), why)

    def _now(self) -> tuple[int, str]:
        """The number, and why it is no other."""
        if self._wanted:
            return self._wanted, ""
        trainers = 1
        if self._place is not None:
            try:
                trainers = self._place.holders()
            except OSError as error:
                log.warning("this trainer cannot count the others on this host any more: %s", error)
                self._place = None
        return share_of(trainers), f", shared by {trainers} trainers" if trainers > 1 else ""
