"""Made-up rounds of clients that differ, as the server journals them (`roughfed.report.heterogeneity.parts`)."""

from __future__ import annotations

from typing import Any

NAMES = ("ann", "bob", "eve")


def spread(mean: float, *, worst: float) -> dict[str, Any]:
    return {"clients": len(NAMES), "mean": mean, "std": 0.125, "worst10": worst, "best10": min(1.0, mean + 0.2)}


def summary(number: int, **changes: Any) -> dict[str, Any]:
    """The figures of a round, with everything in them."""
    void = "too few" if number == 1 else ""
    everything = {
        "seconds": 1.0,
        "spread": {
            "global": spread(0.5 + number / 100, worst=0.25),
            "personal": spread(0.75, worst=0.625),
            "alone": spread(0.625, worst=0.5),
            "worse_than_alone": 1 / 3,
        },
        "cluster": {
            "cluster": "0",
            "members": list(NAMES),
            "clusters": {"0": list(NAMES)} if number < 2 else {"0": ["ann", "eve"], "1": ["bob"]},
            "event": "split" if number == 2 else "",
        },
        "tiers": {
            "fast": {"clients": 2, "keep_one_in": 1, "tensors": [], "bytes": 4096, "void": ""},
            "slow": {"clients": 1, "keep_one_in": 16, "tensors": ["head.*"], "bytes": 256, "void": void},
        },
        "fairness": {"rule": "q-fedavg", "q": 2.0, "weights": {"ann": 0.5, "bob": 1.0, "eve": 3.0}},
        "contribution": {
            "method": "gtg-shapley",
            "evaluations": 40,
            "scores": {
                name: {"round": 0.01 * i, "total": 0.01 * i * number, "cosine": 0.9} for i, name in enumerate(NAMES)
            },
            "intervals": {"bob": [0.005, 0.015]},
            "free_riders": {"ann": "zero"} if number > 1 else {},
            "levels": {"ann": 0.5, "bob": 0.75, "eve": 1.0},
        },
    }
    return everything | changes
