"""The demo's scenarios: what is rough about the data, which parts train on them, and who attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from roughfed.registry import look_up

NOTHING: Mapping[str, object] = MappingProxyType({})

DEFENCE = "default"
"""The rule of the scenarios that have attackers."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row.

    Attributes:
        about: in a few words.
        trainer: learning settings that are right for it, beside the data set's own.
        data: of each client, keys of [data] in client.toml.
        server: settings of the server, by dotted key.
        rounds: 0 takes the data set's.
        clients: K where nobody says.
        attack: name of a row of `roughfed.deploy.attack`; empty: nobody attacks.
        attackers: share of the clients that attack; 0: the last one alone.
        personal: every client has a model of its own and trains one alone: that is what the common one is held against,
            and nothing runs before it.
    """

    about: str
    trainer: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    data: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    server: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    rounds: int = 0
    clients: int = 6
    attack: str = ""
    attackers: float = 0.0
    personal: bool = False

    @property
    def compared(self) -> bool:
        """Whether plain FedAvg runs first, on the same data and with the same attack, to be shown beside it."""
        return bool(self.trainer) and not self.personal

    @property
    def poisoned(self) -> bool:
        """Whether it is about attackers: then it runs without them and without a defence, too."""
        return self.attackers > 0


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
            server={"defence.rule": DEFENCE, "defence.f": 0.2},
            rounds=16,
            attack="sign-flip",
        ),
        "poisoned": Scenario(
            "clients that send poison, without a defence and with one",
            data={"scenario": "clean"},
            server={"defence.rule": DEFENCE},
            clients=10,
            attack="label-flip",
            attackers=0.2,
        ),
        "heterogeneous": Scenario(
            "clients that differ: a model for each, fair weights, contributions, and one that only pretends to train",
            trainer={"method": "ditto", "compare_alone": True},
            data={"scenario": "clean", "alpha": 0.1},
            server={
                "defence.rule": DEFENCE,
                "fairness.rule": "q-fedavg",
                "contribution.method": "auto",
                "reward.levels": [0.5, 0.75, 1.0],
            },
            rounds=10,
            clients=10,
            attack="free-replay-global",
            personal=True,
        ),
    }
)


def scenario_of(name: str) -> Scenario:
    """A row.

    Raises:
        ConfigError: no such scenario.
    """
    return look_up(SCENARIOS, name, key="--scenario")
