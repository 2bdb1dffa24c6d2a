"""Parts for long tails."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Option, Part

_COUNTED = frozenset({"classes", "counts"})
_DRAWN = _COUNTED | {"order"}
_MIXES = ("mixup", "remix", "cutmix", "cmo")
_TWICE = "both adjust for the class shares, which must be done once"
_ALPHA = Option(1.0, "both numbers of the Beta distribution of the share, alpha", low=0.01, high=100.0)
_CHANCE = Option(0.5, "share of the batches that are mixed", low=0.0, high=1.0)
_BETA = Option(0.9999, "0: all alike, close to 1: by 1 / n_c; beta", low=0.0, high=0.999999)
_TAU = Option(1.0, "factor of the log of the class shares, tau", low=0.0, high=10.0)


def _long_tail(room: str, about: str, source: str, **more: object) -> Part:
    return Part(room, about, source=source, family="long-tail", **more)  # pyright: ignore[reportArgumentType]


def _other_mixes(name: str) -> dict[str, str]:
    return {other: "an example is mixed once" for other in _MIXES if other != name}


_BALANCED = {
    "weigh": _TWICE,
    "class-balanced-sampling": _TWICE,
    "square-root-sampling": _TWICE,
    "progressive-sampling": _TWICE,
}

_SAMPLERS: Mapping[str, Part] = {
    "instance": _long_tail("sampler", "every example once", "Kang et al., ICLR 2020", needs=frozenset({"order"})),
    "class-balanced-sampling": _long_tail(
        "sampler", "every class equally often", "Kang et al., ICLR 2020", needs=_DRAWN
    ),
    "square-root-sampling": _long_tail(
        "sampler", "a class as often as the root of its size", "Kang et al., ICLR 2020", needs=_DRAWN
    ),
    "progressive-sampling": _long_tail(
        "sampler", "from every example to every class, over the run", "Kang et al., ICLR 2020", needs=_DRAWN
    ),
}

_NEW_ONLY = {"replay": "it would weigh the new examples and not the remembered ones; balanced-softmax weighs both"}

_WEIGHINGS: Mapping[str, Part] = {
    "class-balanced": _long_tail(
        "weigh",
        "rare classes count more, by their effective number of examples",
        "Cui et al., CVPR 2019",
        options={"beta": _BETA},
        by_shares=True,
        excludes=_NEW_ONLY,
        needs=_COUNTED,
    ),
    "drw": _long_tail(
        "weigh",
        "the weights of class-balanced, late in the run",
        "Cao et al., NeurIPS 2019",
        options={"beta": _BETA, "after": Option(0.8, "share of the run without weights", low=0.0, high=1.0)},
        by_shares=True,
        excludes=_NEW_ONLY,
        needs=_COUNTED,
    ),
}

_LOSSES: Mapping[str, Part] = {
    "focal": _long_tail(
        "loss",
        "cross-entropy that looks away from what is easy",
        "Lin et al., ICCV 2017",
        options={"gamma": Option(2.0, "how far away, gamma; 0 is cross-entropy", low=0.0, high=10.0)},
        needs=frozenset({"classes"}),
    ),
    "ldam": _long_tail(
        "loss",
        "larger margins for rarer classes, on a normalised head",
        "Cao et al., NeurIPS 2019",
        options={
            "s": Option(30.0, "scale of the cosines, s", low=0.1, high=1000.0),
            "max-m": Option(0.5, "margin of the rarest class", low=0.0, high=2.0),
        },
        by_shares=True,
        needs=_COUNTED | {"head"},
        brings=("drw",),
    ),
    "balanced-softmax": _long_tail(
        "loss",
        "the log of the class shares added to the logits in training",
        "Ren et al., NeurIPS 2020",
        options={"tau": _TAU},
        by_shares=True,
        needs=_COUNTED,
        excludes=_BALANCED,
    ),
    "logit-adjustment": _long_tail(
        "loss",
        "the same, or taken from the head's bias after the last round",
        "Menon et al., ICLR 2021",
        options={"tau": _TAU, "post-hoc": Option(default=False, about="after the last round, not in training")},
        by_shares=True,
        needs=_COUNTED,
        excludes=_BALANCED,
    ),
}

_AUGMENTS: Mapping[str, Part] = {
    "mixup": _long_tail(
        "augment",
        "blends of two examples",
        "Zhang et al., ICLR 2018",
        options={"alpha": _ALPHA},
        excludes=_other_mixes("mixup"),
    ),
    "remix": _long_tail(
        "augment",
        "blends whose labels lean to the rarer class",
        "Chou et al., ECCV Workshops 2020",
        options={
            "alpha": _ALPHA,
            "kappa": Option(3.0, "from which ratio of sizes on a label leans, kappa", low=1.0),
            "tau": Option(0.5, "below which share of the input a label may vanish, tau", low=0.0, high=1.0),
        },
        by_shares=True,
        needs=_COUNTED,
        excludes=_other_mixes("remix"),
    ),
    "cutmix": _long_tail(
        "augment",
        "a box of one image pasted on another",
        "Yun et al., ICCV 2019",
        options={"alpha": _ALPHA, "chance": _CHANCE},
        needs=frozenset({"classes", "images"}),
        excludes=_other_mixes("cutmix"),
    ),
    "cmo": _long_tail(
        "augment",
        "boxes of rare classes pasted on ordinary images",
        "Park et al., CVPR 2022",
        options={
            "alpha": _ALPHA,
            "chance": _CHANCE,
            "weight": Option(1.0, "0: any image is pasted, 1: every class equally often", low=0.0, high=3.0),
        },
        needs=_COUNTED | {"images", "ids"},
        excludes=_other_mixes("cmo"),
    ),
}

_ADJUSTED = {"balanced-softmax": _TWICE, "logit-adjustment": _TWICE}
_WHOLE = "it moves every parameter, where the head should learn alone"
_OWN_LOSS = "its experts have losses of their own"

_WHOLES: Mapping[str, Part] = {
    "ride": _long_tail(
        "ensemble",
        "experts that differ most on rare classes",
        "Wang et al., ICLR 2021",
        options={
            "diversity": Option(0.01, "weight of the divergence, lambda", low=0.0, high=10.0),
            "reweight": Option(0.05, "how much the temperature follows the class shares", low=0.0, high=1.0),
            "tau": _TAU,
        },
        by_shares=True,
        needs=_COUNTED | {"experts"},
        excludes={**_BALANCED, "loss": _OWN_LOSS},
    ),
    "sade": _long_tail(
        "ensemble",
        "three experts: for the head, for all, for the tail",
        "Zhang et al., NeurIPS 2022",
        options={"lambda": Option(2.0, "how far the third leans to the tail, lambda", low=0.0, high=10.0)},
        by_shares=True,
        needs=_COUNTED | {"experts"},
        excludes={**_BALANCED, "loss": _OWN_LOSS},
    ),
    "crt": _long_tail(
        "decouple",
        "the head alone on balanced classes, late in the run",
        "Kang et al., ICLR 2020",
        options={"after": Option(0.8, "share of the run in which everything learns", low=0.0, high=1.0)},
        needs=_DRAWN | {"head"},
        excludes={
            "weigh": "classes would be balanced twice",
            "logit-adjustment": _TWICE,
            "ldam": "its head is a normalised one",
            "ewc": _WHOLE,
            "si": _WHOLE,
        },
    ),
    "tau-norm": _long_tail(
        "decouple",
        "rows of the head by their length, after the last round",
        "Kang et al., ICLR 2020",
        options={"tau": Option(1.0, "0: as they are, 1: all alike; tau", low=0.0, high=2.0)},
        needs=frozenset({"classes", "head"}),
        excludes={**_ADJUSTED, "weigh": _TWICE, "ldam": "its head is normalised already"},
    ),
}

LONG_TAIL: Mapping[str, Part] = {**_SAMPLERS, **_WEIGHINGS, **_LOSSES, **_AUGMENTS, **_WHOLES}
