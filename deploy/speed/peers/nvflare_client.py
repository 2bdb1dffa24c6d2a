"""A client of NVFlare that trains nothing: run by NVFlare's own processes, and imported by nothing here.

It answers with what it got, plus `STEP`. Shapes: D parameters in one float32 array.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

STEP = 0.01

flare: Any = importlib.import_module("nvflare.client")  # by name: whoever checks this file need not have it


def main() -> None:
    """Answer as long as the job runs."""
    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        params = {key: np.asarray(array) + np.float32(STEP) for key, array in model.params.items()}
        flare.send(flare.FLModel(params=params, params_type="FULL", metrics={}))


if __name__ == "__main__":
    main()
