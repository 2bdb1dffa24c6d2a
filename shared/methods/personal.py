"""Parts that give each client a model of its own."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Option, Part

_ISOLATE = "which weights belong to which task is decided on the one model that is sent"
_SELECT = "examples are believed by what one network says of them, and the own model is another"
_DECOUPLE = "it leaves the trunk as it is in the last rounds, and the own model is trained in all of them"
_REPLAY = "what is replayed is learnt by the model that is sent, and not by the own one"


PERSONAL: Mapping[str, Part] = {
    "fine-tune": Part(
        "personal",
        "some epochs of local training before the common model is used",
        source="Wang et al., 2019",
        family="personal",
        options={"epochs": Option(1, "epochs before each use", low=1, high=1000)},
        excludes={
            "isolate": _ISOLATE,
            "decouple": "it changes the head at the end of a run, and a fine-tuning is a run by itself",
        },
    ),
    "ditto": Part(
        "personal",
        "a second model, trained beside and held near the common one",
        source="Li et al., ICML 2021",
        family="personal",
        options={"lambda": Option(0.1, "how strongly it is held, lambda", low=0.0, high=1000.0)},
        excludes={"isolate": _ISOLATE, "select": _SELECT, "decouple": _DECOUPLE, "replay": _REPLAY},
    ),
    "adaptive-mixing": Part(
        "personal",
        "begins with a mixture of the own and the common last layers, weighed element by element",
        source="Zhang et al., AAAI 2023",
        family="personal",
        options={
            "layers": Option(1, "last layers that are mixed, p", low=1, high=1000),
            "share": Option(0.8, "of the local examples, on which the weights are learnt, s", low=0.01, high=1.0),
            "rate": Option(1.0, "learning rate of the weights, eta", low=0.0, high=1000.0),
            "settled": Option(0.1, "spread of the last losses at which the weights are taken as learnt", low=0.0),
        },
        excludes={
            "isolate": _ISOLATE,
            "decouple": _DECOUPLE,
            "ensemble": "the last layers would be those of one expert",
            "scaffold": "control variates are of steps that begin at the common model",
        },
    ),
    "fedrep": Part(
        "personal",
        "trains the private tensors first, then the shared ones under them",
        source="Collins et al., ICML 2021",
        family="personal",
        options={"head": Option(1, "epochs of a round that train the private tensors; the others the shared", 1, 1000)},
        needs=frozenset({"private"}),
        excludes={
            "isolate": _ISOLATE,
            "decouple": "both say when which half learns",
            "scaffold": "the shared tensors stand still for a part of the steps",
        },
    ),
}
