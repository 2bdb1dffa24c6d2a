"""The shared random subset: which rotated coordinates are sent, the same ones by every client of a round.

Whole rows of the layout are drawn. A row holds one coordinate of every block, and within a block the rotation has made
the coordinates exchangeable, so this is the subsampled randomised Hadamard transform (Ailon and Chazelle, SIAM J.
Comput. 2009) with one sample of rows for all blocks: every coordinate is sent with probability 1/f in a round, every
block sends exactly H/f of them, and a run of S floats is read at full speed. Two coordinates of one row are sent
together; with fresh signs every round that correlates nothing in the parameters.

There is no factor f: the decoded mean is the *projection* of the mean, and error feedback brings the rest in later
rounds. Scaled up by f, feedback would diverge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.keystream import Keystream
from roughfed.codec.plan import ChainParams

Rows = NDArray[np.int64]


def kept_rows(params: ChainParams) -> Rows:
    """The rows that are sent, int64 [H / f], ascending; a function of the public seed alone."""
    rows = params.layout.rows
    if params.kept_rows == rows:
        return np.arange(rows)
    draws = np.empty(rows, dtype="<u8")
    Keystream(params.seed, "subset").fill(draws.data)
    return np.sort(np.argsort(draws, kind="stable")[: params.kept_rows])
