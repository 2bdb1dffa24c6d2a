"""Hands a job to a running NVFlare and waits for its end: run by NVFlare's Python, and imported by nothing here.

The job is NVFlare's own recipe of federated averaging for numpy, with its defaults, and nvflare_client.py as the script
that trains nothing. Prints one line of JSON with the lowest and highest parameter of the result.
Shapes: D parameters in one float32 array.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

# Modules of nvflare, by name: whoever checks this file need not have it.
recipes: Any = importlib.import_module("nvflare.app_common.np.recipes.fedavg")
prod_env: Any = importlib.import_module("nvflare.recipe.prod_env")


def main() -> None:
    """Submit, wait, look at the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kit", required=True, help="the administrator's start-up kit")
    parser.add_argument("--user", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for the first model")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--params", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--timeout", type=float, required=True, help="seconds")
    args = parser.parse_args()
    first = args.folder / "first.npy"
    np.save(first, np.zeros(args.params, np.float32))
    recipe = recipes.NumpyFedAvgRecipe(
        name="peers",
        initial_ckpt=str(first),
        min_clients=args.clients,
        num_rounds=args.rounds,
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
    )
    environment = prod_env.ProdEnv(startup_kit_location=args.kit, login_timeout=60.0, username=args.user)
    run = recipe.execute(environment)
    result = run.get_result(timeout=args.timeout)
    if not result:
        raise SystemExit(f"NVFlare's job did not end well: {run.get_status()}")
    found = sorted(Path(result).rglob("server.npy"))
    if not found:
        raise SystemExit("NVFlare's job left no model")
    with found[0].open("rb") as file:
        mean = np.lib.format.read_array(file, allow_pickle=False)
    print(json.dumps({"lowest": float(mean.min()), "highest": float(mean.max()), "params": int(mean.size)}))


if __name__ == "__main__":
    main()
