"""Settings that later versions bring: refused by name, never as a mere unknown key, never accepted and ignored."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_SECURE = "arrives with secure aggregation"
_CODEC = "arrives with the codecs"
_SERVER_OPTIMIZERS = "arrives with the adaptive server optimizers"
_TRAINERS = "arrives with the trainers for rough data"
_LATER = "is for later, not now"

TABLES: Mapping[str, str] = MappingProxyType(
    {
        "defence": "Poisoning defence arrives with the defences",
        "fairness": "Fair aggregation arrives with the fairness rules",
        "personalize": "Personalization arrives with the personalization rules",
        "cluster": "A model for each cluster arrives with the personalization rules",
        "contribution": "Contribution scoring arrives with the contribution ledger",
        "incentive": "Reward tiers arrive with the contribution ledger",
        "memory": "Rehearsal memory arrives with continual training",
        "sketch": f"Checking updates by their sketches {_SECURE}",
        "secagg": f"The set-up of groups {_SECURE}",
    }
)

# A name in any table, or a dotted key.
KEYS: Mapping[str, str] = MappingProxyType(
    {
        "groups": f"Aggregating in groups {_SECURE}",
        "group_size": f"Aggregating in groups {_SECURE}",
        "regroup_every": f"Redrawing groups {_SECURE}",
        "asynchronous": f"Asynchronous rounds: this {_LATER}",
        "external_ca": f"An external CA: this {_LATER}",
        "privacy.dp": f"Differential privacy: this {_LATER}",
        "privacy.epsilon": f"Differential privacy: this {_LATER}",
        "privacy.delta_dp": f"Differential privacy: this {_LATER}",
        "privacy.noise_multiplier": f"Differential privacy: this {_LATER}",
        "privacy.clip_norm": f"Clipping of updates {_CODEC}",
        "privacy.sketch": f"Checking updates by their sketches {_SECURE}",
        "privacy.sketch_dim": f"Checking updates by their sketches {_SECURE}",
        "codec.levels": f"Quantisation {_CODEC}",
        "codec.lane_bits": f"Quantisation {_CODEC}",
        "codec.fraction": f"Sending a subset of the coordinates {_CODEC}",
        "optimize.momentum": f"Server momentum {_SERVER_OPTIMIZERS}",
        "optimize.beta1": f"Server momentum {_SERVER_OPTIMIZERS}",
        "optimize.beta2": f"An adaptive server step {_SERVER_OPTIMIZERS}",
        "optimize.tau": f"An adaptive server step {_SERVER_OPTIMIZERS}",
        "trainer.sampler": f"Class-aware sampling {_TRAINERS}",
        "trainer.augment": f"Augmentation {_TRAINERS}",
        "trainer.select": f"Selection of clean examples {_TRAINERS}",
        "trainer.memory": f"Rehearsal memory {_TRAINERS}",
        "trainer.regularize": f"Regularisation against forgetting {_TRAINERS}",
        "trainer.isolate": f"Parameter isolation {_TRAINERS}",
        "trainer.ensemble": f"Training of several nets {_TRAINERS}",
        "trainer.decouple": f"Decoupled training of the classifier {_TRAINERS}",
        "trainer.probe": f"The look at the data that picks a trainer {_TRAINERS}",
        "trainer.proximal_mu": f"The proximal term of FedProx {_TRAINERS}",
        "trainer.scaffold": f"Training with SCAFFOLD's control variates {_TRAINERS}",
    }
)

_LOSSES = (
    "balanced-softmax",
    "logit-adjustment",
    "ldam",
    "focal",
    "class-balanced",
    "label-smoothing",
    "gce",
    "sce",
    "elr",
)
_METHODS = ("forward-correction", "co-teaching", "dividemix", "er", "der++", "ewc", "long-tail", "noisy", "continual")
_CODECS = ("fp16", "bf16", "int8", "int4", "top-k", "random-k", "lanes", "hadamard")
_RULES = ("fedavgm", "fedadam", "fedyogi", "fedadagrad")

VALUES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "privacy.server_sees": dict.fromkeys(("sketches", "sums"), _SECURE),
        "codec.name": dict.fromkeys(_CODECS, _CODEC),
        "optimize.rule": dict.fromkeys(_RULES, _SERVER_OPTIMIZERS),
        "trainer.loss": dict.fromkeys((*_LOSSES, *_METHODS), _TRAINERS),
        "trainer.optimizer": dict.fromkeys(("adam", "adamw"), _TRAINERS),
        "data.scenario": {
            **dict.fromkeys(("long-tail", "noisy", "continual"), _TRAINERS),
            **dict.fromkeys(("poisoned", "rough"), "arrives with the attacks and defences"),
        },
    }
)


def planned_key(dotted: str) -> str:
    """The sentence about an unknown key that a later version brings; empty when none does."""
    table, _, name = dotted.partition(".")
    sentence = TABLES.get(table) or KEYS.get(dotted) or KEYS.get(name)
    return f"{sentence}; it is not built yet." if sentence else ""


def planned_value(dotted: str, value: object) -> str:
    """The sentence about a value of a known key that a later version brings; empty when none does."""
    sentence = VALUES.get(dotted, {}).get(value) if isinstance(value, str) else None
    return f'"{value}" {sentence}; it is not built yet.' if sentence else ""
