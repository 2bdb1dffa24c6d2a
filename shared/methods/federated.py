"""Parts that make sense only in a federation."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Option, Part

FEDERATED: Mapping[str, Part] = {
    "fedprox": Part(
        "regularize",
        "holds the local model near the global one",
        source="Li et al., MLSys 2020",
        family="federated",
        options={"mu": Option(0.01, "weight of the squared distance, mu", low=0.0)},
    ),
    "global-distillation": Part(
        "regularize",
        "a client that doubts its labels follows the global model rather than them",
        source="Wu et al., IJCAI 2023",
        family="federated",
        options={
            "weight": Option(0.8, "of the distillation after the ramp; the rest is the method's", low=0.0, high=0.95),
            "ramp": Option(0.5, "share of the run over which the weight rises", low=0.01, high=1.0),
            "temperature": Option(0.8, "of the global model's softmax; below 1 sharpens it", low=0.1, high=10.0),
            "who": Option("noisy", "who distils: clients that doubt their labels, or all", choices=("noisy", "all")),
        },
        needs=frozenset({"classes"}),
        asks=("class-loss-histogram",),
    ),
    "scaffold": Part(
        "regularize",
        "takes the drift of each client off its gradients (control variates; the federation's, not a client's, choice)",
        source="Karimireddy et al., ICML 2020",
        family="federated",
        options={
            "steps": Option(50, "a usual number of local steps in a round; public, scales what is sent", 1, 1_000_000)
        },
        excludes={"isolate": "which weights may move is each client's own matter there, and c would move others"},
    ),
}
