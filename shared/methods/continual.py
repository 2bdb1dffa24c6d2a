"""Parts for data that keep changing: memories, what is done with them, and what protects without one."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Option, Part

KEEPS = frozenset({"memory", "ids", "classes"})
SLOTS = Option(200, "examples, or the bytes of so many", low=1, high=10_000_000)
DRAWN = Option(32, "examples drawn from the memory in a step", low=1, high=100_000)
WEIGHT = Option(1.0, "weight of the loss of what is replayed", low=0.0)
DISTILLED = Option(0.5, "weight of the squared distance to the noted logits, alpha", low=0.0)
STRENGTH = Option(10.0, "how strongly parameters are held, lambda", low=0.0)
TWICE = "it holds the parameters, and so does the other: a method has one of them"


def _memory(about: str, source: str = "", *more: str, options: Mapping[str, Option] | None = None) -> Part:
    given = {"size": SLOTS, **(options or {})}
    return Part("memory", about, source, "continual", options=given, needs=KEEPS | {*more})


def _replay(about: str, source: str, options: Mapping[str, Option]) -> Part:
    needs = frozenset({"memory", "classes"})
    return Part("replay", about, source, "continual", options=options, needs=needs, brings=("reservoir",))


CONTINUAL: Mapping[str, Part] = {
    "reservoir": _memory("keeps a uniform sample of all examples that came by", "Vitter, ACM TOMS 1985"),
    "class-balanced-memory": _memory(
        "keeps as many examples of every class", "Chrysakis and Moens, ICML 2020 (class-balancing reservoir)"
    ),
    "herding": _memory(
        "keeps the examples whose mean feature is nearest to their class's",
        "Rebuffi et al., CVPR 2017",
        "head",
        "counts",
    ),
    "mosaic": _memory("keeps four examples at half resolution in the bytes of one", "", "images"),
    "condensed": _memory(
        "keeps small images that are made so that their features match those of their class",
        "Zhao and Bilen, WACV 2023; Kim et al., ICML 2022",
        "images",
        "head",
        "counts",
        options={
            "steps": Option(50, "steps of the matching at the end of a training", low=0, high=10_000),
            "lr": Option(1.0, "learning rate of the pixels", low=0.0),
        },
    ),
    "er": _replay(
        "learns from remembered examples beside the new ones",
        "Chaudhry et al., 2019",
        {"batch": DRAWN, "weight": WEIGHT},
    ),
    "er-ace": _replay(
        "the same, and new examples compete only with the classes that come with them",
        "Caccia et al., ICLR 2022",
        {"batch": DRAWN, "weight": WEIGHT},
    ),
    "der": _replay(
        "keeps the outputs for remembered examples where they were",
        "Buzzega et al., NeurIPS 2020",
        {"batch": DRAWN, "alpha": DISTILLED},
    ),
    "der++": _replay(
        "the same, and learns from remembered labels",
        "Buzzega et al., NeurIPS 2020",
        {"batch": DRAWN, "alpha": DISTILLED, "beta": WEIGHT},
    ),
    "gem": _replay(
        "takes no step that would raise the loss on an earlier task's memory",
        "Lopez-Paz and Ranzato, NeurIPS 2017",
        {
            "batch": Option(64, "remembered examples of each task in a step", low=1, high=100_000),
            "margin": Option(0.5, "how far steps are turned towards earlier tasks, gamma", low=0.0),
        },
    ),
    "a-gem": _replay(
        "takes no step that would raise the loss on the memory as a whole",
        "Chaudhry et al., ICLR 2019",
        {"batch": Option(128, "remembered examples in a step", low=1, high=100_000)},
    ),
    "ewc": Part(
        "regularize",
        "holds parameters that earlier tasks' predictions depend on (online form)",
        "Kirkpatrick et al., PNAS 2017; Schwarz et al., ICML 2018",
        "continual",
        options={
            "lambda": STRENGTH,
            "gamma": Option(1.0, "what an earlier task's importance is worth at the next, gamma", low=0.0, high=1.0),
            "samples": Option(256, "examples from which the Fisher information is estimated", low=1, high=1_000_000),
        },
        needs=frozenset({"classes"}),
        excludes={"si": TWICE},
    ),
    "si": Part(
        "regularize",
        "holds parameters that did much to lower earlier losses",
        "Zenke et al., ICML 2017",
        "continual",
        options={
            "c": Option(1.0, "how strongly parameters are held, c", low=0.0),
            "xi": Option(0.1, "damping, xi", low=1e-12),
        },
    ),
    "lwf": Part(
        "regularize",
        "keeps what the earlier model says of the new examples",
        "Li and Hoiem, TPAMI 2018",
        "continual",
        options={
            "alpha": Option(1.0, "weight of the distillation, alpha", low=0.0),
            "t": Option(2.0, "temperature, T", low=0.1),
        },
        needs=frozenset({"classes", "counts"}),
    ),
    "packnet": Part(
        "isolate",
        "gives every task parameters of its own, and freezes those of earlier tasks",
        "Mallya and Lazebnik, CVPR 2018",
        "continual",
        options={
            "prune": Option(0.75, "share of a task's weights that are freed for later ones", low=0.0, high=0.999),
            "retrain": Option(0.33, "share of a task's first training that follows the pruning", low=0.0, high=1.0),
        },
        needs=frozenset({"tasks", "head", "counts"}),
        excludes={
            "ewc": "frozen parameters need not be held",
            "si": "frozen parameters need not be held",
            "ldam": "it scales the rows of all classes, and those of earlier tasks are frozen",
            "decouple": "it changes the rows of all classes, and those of earlier tasks are frozen",
        },
    ),
}
