"""What is made rough about the data of a federation: the scenarios by name, and the settings that say it in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from types import MappingProxyType
from typing import Any

from roughfed.data.rough import NOISE_KINDS
from roughfed.errors import ConfigError
from roughfed.registry import look_up

ORDERS = ("auto", "natural", "reversed", "random")

SCENARIOS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "clean": {},
        "long-tail": {"imbalance": 100.0},
        "noisy": {"noise": 0.4, "noisy_clients": 0.5},
        "continual": {"tasks": 5},
        "rough": {"imbalance": 10.0, "noise": 0.3, "noisy_clients": 0.5, "tasks": 2},
    }
)
"""What each sets of Roughness. Who attacks is no business of the data."""

# On 1,438 images an imbalance of 100 would leave one image of the rarest class.
_SMALL_TAIL = MappingProxyType({"digits": 20.0})

# The last classes are the easy ones (sneaker, bag, boot): as the tail they would hide the problem.
_REVERSED = frozenset({"fashion-mnist"})

_DIGITS_TAKEN_FOR = MappingProxyType({2: 7, 3: 8, 5: 6, 6: 5, 7: 1})  # Patrini et al., CVPR 2017, section 5
NOISE_MAPS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        "digits": _DIGITS_TAKEN_FOR,
        "mnist": _DIGITS_TAKEN_FOR,
        # T-shirt -> shirt, pullover -> coat, dress -> trouser, sandal -> sneaker, ankle boot -> sneaker
        "fashion-mnist": MappingProxyType({0: 6, 2: 4, 3: 1, 5: 7, 9: 7}),
    }
)
"""Which class is taken for which, by source; another source: c for c + 1."""


@dataclass(frozen=True, slots=True)
class Roughness:
    """How rough the data are. Any of the three kinds can be had alone or with the others.

    Attributes:
        imbalance: head size over tail size of the whole federation, before it is divided; 1 is none.
        class_order: of the classes from head to tail: natural, reversed, random (by the seed), or auto: reversed where
            the natural order would hide the problem.
        noise: share of a noisy client's training labels that are wrong; with asymmetric noise the share of those whose
            class is taken for another. 0 is none.
        noise_kind: symmetric, asymmetric or instance.
        noisy_clients: share of the clients that are noisy, at least one.
        tasks: classes arrive in so many tasks; 1: everything is there from the start.
        rounds_per_task: after so many rounds a client's next task begins.
        stagger: clients begin their second task, and each later one, up to so many rounds later than the first of them.
    """

    imbalance: float = 1.0
    class_order: str = "auto"
    noise: float = 0.0
    noise_kind: str = "symmetric"
    noisy_clients: float = 1.0
    tasks: int = 1
    rounds_per_task: int = 3
    stagger: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: a value out of range.
        """
        _check(self.imbalance >= 1 and isfinite(self.imbalance), "imbalance", self.imbalance, "1 (none) or more")
        _check(0 <= self.noise <= 1, "noise", self.noise, "0 to 1")
        _check(0 < self.noisy_clients <= 1, "noisy_clients", self.noisy_clients, "above 0, at most 1")
        for key in ("tasks", "rounds_per_task"):
            _check(getattr(self, key) >= 1, key, getattr(self, key), "1 or more")
        _check(self.stagger >= 0, "stagger", self.stagger, "0 or more")
        look_up(dict.fromkeys(ORDERS), self.class_order, key="data.class_order")
        look_up(dict.fromkeys(NOISE_KINDS), self.noise_kind, key="data.noise_kind")

    def reversed_for(self, source: str) -> bool:
        """Whether the classes of a source go from the last (head) to the first (tail)."""
        return self.class_order == "reversed" or (self.class_order == "auto" and source in _REVERSED)


KEYS = tuple(field.name for field in fields(Roughness))


def roughness(source: str, scenario: str, options: Mapping[str, Any]) -> Roughness:
    """What a scenario and the settings beside it come to.

    Args:
        source: name of the data set; the numbers of some scenarios depend on it.
        scenario: a row of SCENARIOS.
        options: settings by their names in Roughness; others are left alone. One that is 0 or empty is the scenario's,
            else none.

    Raises:
        ConfigError: an unknown scenario, or a value out of range.
    """
    if scenario == "poisoned":
        cure = "`roughfed demo --scenario poisoned` plays it; data.scenario = one of: " + ", ".join(SCENARIOS)
        raise ConfigError("attackers are clients, which no data set brings", key="data.scenario", cure=cure)
    settings: dict[str, Any] = dict(look_up(SCENARIOS, scenario, key="data.scenario"))
    if scenario == "long-tail":
        settings["imbalance"] = _SMALL_TAIL.get(source, settings["imbalance"])
    settings.update({key: options[key] for key in KEYS if options.get(key)})
    return Roughness(**settings)


def _check(fine: bool, key: str, value: object, wanted: str) -> None:
    if not fine:
        raise ConfigError(f"{value!r} is out of range", key=f"data.{key}", cure=f"write {wanted}")
