"""The demo's scenarios: what is rough about the data, which parts train on them, and who attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from roughfed.errors import NotBuiltYet
from roughfed.registry import look_up

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row.

    Attributes:
        about: in a few words.
        trainer: learning settings that are right for it, beside the data set's own.
        data: of each client, keys of [data] in client.toml.
        server: settings of the server, by dotted key.
        rounds: 0 takes the data set's.
        attack: NAME and flags of `python -m roughfed.deploy.attack` for the last client; empty: nobody attacks.
    """

    about: str
    trainer: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    data: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    server: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    rounds: int = 0
    attack: tuple[str, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether plain FedAvg runs first, on the same data and with the same attack, to be shown beside it."""
        return bool(self.trainer)


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "clean": Scenario("nothing rough"),
        "long-tail": Scenario(
            "classes from frequent to rare",
            trainer={"method": "long-tail", "prior": "global"},
        ),
        "noisy": Scenario(
            "half of the clients with wrong labels",
            trainer={"method": "noisy"},
            data={"alpha": 100.0},  # every client has every class, so that what differs is the noise
        ),
        "continual": Scenario(
            "classes that come and go",
            trainer={"method": "continual"},
            data={"alpha": 100.0, "rounds_per_task": 3},
            rounds=15,
        ),
        "rough": Scenario(
            "a tail, wrong labels, tasks and an attacker",
            trainer={"method": "rough"},
            data={"alpha": 100.0, "rounds_per_task": 8},
            server={"defence.rule": "multi-krum", "defence.f": 0.2},
            rounds=16,
            attack=("sign-flip",),
        ),
    }
)


PLANNED = ("poisoned",)


def scenario_of(name: str) -> Scenario:
    """A row.

    Raises:
        NotBuiltYet: a scenario of a later version.
        ConfigError: no such scenario.
    """
    if name in PLANNED:
        cause = f"scenario {name!r} is not built yet: it arrives with the attacks and defences"
        raise NotBuiltYet(cause, key="--scenario", cure=f"one of: {', '.join(SCENARIOS)}")
    return look_up(SCENARIOS, name, key="--scenario")
