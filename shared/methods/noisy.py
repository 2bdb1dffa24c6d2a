"""Parts for wrong labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from roughfed.methods.row import Option, Part

_CLASSES = frozenset({"classes"})
_KNOWN = frozenset({"classes", "ids"})
_MIXES = ("mixup", "remix", "cutmix", "cmo")

_RATE = Option(0.0, "share of all labels that is wrong, tau; 0: estimated by an early look", low=0.0, high=0.9)
_RAMP = Option(0.3, "share of the run after which no more are left out, T_k", low=0.0, high=1.0)
_WARMUP = Option(0.1, "share of the run before the data are looked at", low=0.0, high=1.0)
_PER_CLASS = Option(default=False, about="part each given label by itself, so that rare classes are not thrown away")
_SMALL = {"rate": _RATE, "ramp": _RAMP, "warmup": _WARMUP, "per-class": _PER_CLASS}
_T = {
    "t": Option(
        "confident",
        "where T comes from: estimated, told by the server, or known",
        choices=("confident", "anchor", "dual", "global", "symmetric", "pair", "flips"),
    ),
    "rate": Option(0.0, "share of wrong labels of a class, where T is known", low=0.0, high=0.95),
    "flips": Option("none", "pairs of classes like 0-6.2-4, of t=flips"),
    "warmup": _WARMUP,
}


def _noisy(room: str, about: str, source: str, **more: object) -> Part:
    return Part(room, about, source=source, family="noisy", **more)  # pyright: ignore[reportArgumentType]


def _unmixed(why: str) -> dict[str, str]:
    return dict.fromkeys(_MIXES, why)


_OWN_LOSS = "after its warm-up its loss is its own"

_LOSSES: Mapping[str, Part] = {
    "gce": _noisy(
        "loss",
        "between cross-entropy and absolute error",
        "Zhang & Sabuncu, NeurIPS 2018",
        options={"q": Option(0.7, "0: cross-entropy, 1: absolute error; q", low=0.01, high=1.0)},
        needs=_CLASSES,
    ),
    "sce": _noisy(
        "loss",
        "cross-entropy and its reverse",
        "Wang et al., ICCV 2019",
        options={
            "alpha": Option(0.1, "weight of the cross-entropy, alpha", low=0.0, high=100.0),
            "beta": Option(1.0, "weight of the reverse one, beta", low=0.0, high=100.0),
        },
        needs=_CLASSES,
    ),
    "elr": _noisy(
        "loss",
        "holds each example to what was predicted for it early",
        "Liu et al., NeurIPS 2020",
        options={
            "beta": Option(0.7, "how slowly an example's target moves, beta", low=0.0, high=0.999),
            "lambda": Option(3.0, "weight of the regulariser, lambda", low=0.0, high=100.0),
        },
        needs=_KNOWN,
        excludes=_unmixed("its targets belong to single examples"),
    ),
    "forward-correction": _noisy(
        "loss",
        "predictions are held against the labels through a transition matrix",
        "Patrini et al., CVPR 2017",
        options={**_T, "q": Option(0.0, "0: cross-entropy, up to 1: absolute error; q as in gce", low=0.0, high=1.0)},
        needs=_CLASSES | {"transition"},
    ),
    "backward-correction": _noisy(
        "loss",
        "losses of all classes, taken back through a transition matrix",
        "Patrini et al., CVPR 2017",
        options=_T,
        needs=_CLASSES | {"transition"},
    ),
    "dual-t": _noisy(
        "loss",
        "forward correction with a matrix factored through the predicted class",
        "Yao et al., NeurIPS 2020",
        options={"warmup": _WARMUP},
        needs=_CLASSES,
    ),
    "volminnet": _noisy(
        "loss",
        "forward correction with a matrix that is learnt beside the model",
        "Li et al., ICML 2021",
        options={
            "lambda": Option(1e-4, "weight of log det T, lambda", low=0.0, high=10.0),
            "lr": Option(0.01, "learning rate of T", low=0.0, high=10.0),
        },
        needs=_CLASSES,
    ),
}

_SELECTORS: Mapping[str, Part] = {
    "small-loss": _noisy(
        "select",
        "leaves out the largest losses of each class",
        "Arpit et al., ICML 2017",
        options={
            "rate": replace(_RATE, high=0.7),  # of a class at least 0.3 is believed
            "ramp": _RAMP,
            "warmup": _WARMUP,
            "relabel": Option(0.0, "confidence from which others get the predicted class; 0: never", low=0.0, high=1.0),
        },
        needs=_KNOWN,
        excludes=_unmixed("losses are kept of single examples"),
    ),
    "co-teaching": _noisy(
        "select",
        "two networks, each learning from the other's small losses",
        "Han et al., NeurIPS 2018",
        options=_SMALL,
        needs=_CLASSES,
        excludes={"ensemble": "the second network has no experts"},
        nets=1,
    ),
    "jocor": _noisy(
        "select",
        "two networks, both learning from what they agree on",
        "Wei et al., CVPR 2020",
        options={"lambda": Option(0.1, "weight of their disagreement, lambda", low=0.0, high=1.0), **_SMALL},
        needs=_CLASSES,
        excludes={"ensemble": "the second network has no experts"},
        nets=1,
    ),
    "divide-mix": _noisy(
        "select",
        "two networks part right labels from wrong ones, and guess the latter",
        "Li et al., ICLR 2020",
        options={
            "lambda-u": Option(25.0, "weight of guessed labels, lambda_u", low=0.0, high=1000.0),
            "T": Option(0.5, "temperature that sharpens targets, T", low=0.05, high=1.0),
            "alpha": Option(4.0, "of the Beta distribution of the mixture, alpha", low=0.01, high=100.0),
            "threshold": Option(0.5, "chance of being right from which a label is kept", low=0.0, high=1.0),
            "warmup": _WARMUP,
            "ramp": Option(0.5, "share of the run over which lambda_u grows", low=0.0, high=1.0),
            "per-class": _PER_CLASS,
        },
        needs=_KNOWN,
        excludes={
            **_unmixed("it mixes its batches itself"),
            "ensemble": "the second network has no experts",
            **dict.fromkeys(("weigh", "balanced-softmax", "logit-adjustment", "er-ace"), _OWN_LOSS),
        },
        nets=1,
    ),
    "meta-weight-net": _noisy(
        "select",
        "learns from trusted examples how much a loss counts",
        "Shu et al., NeurIPS 2019",
        options={
            "lr": Option(1e-3, "learning rate of the weighing network", low=0.0, high=1.0),
            "batch": Option(100, "trusted examples a step", low=1, high=100_000),
        },
        needs=_CLASSES | {"clean"},
        excludes={
            "ensemble": "its virtual step is that of a single head",
            "ldam": "its virtual step is that of the plain head",
            "elr": "its virtual step would move the remembered targets a second time",
        },
    ),
    "ood-reject": _noisy(
        "select",
        "leaves out what looks like no class at all",
        "Liu et al., NeurIPS 2020",
        options={
            "score": Option("energy", "what says so", choices=("energy", "confidence")),
            "rate": Option(0.0, "share of each class to leave out; 0: outliers", low=0.0, high=0.9),
            "warmup": _WARMUP,
        },
        needs=_KNOWN,
        excludes=_unmixed("scores are of single examples"),
    ),
}

_OTHERS: Mapping[str, Part] = {
    "weight-average": _noisy(
        "regularize",
        "sends the mean of the weights along the way, not the last ones",
        "Polyak & Juditsky, 1992",
        options={"decay": Option(0.998, "of the running mean, at each step", low=0.0, high=0.99999)},
        excludes={
            "decouple": "the head would be trained on a model that is not sent",
            "isolate": "what is pruned would come back",
        },
    ),
}

NOISY: Mapping[str, Part] = {**_LOSSES, **_SELECTORS, **_OTHERS}
