"""Who attacks in the federations of a bench, and what these clients send instead of what they trained.

K clients, f of them hostile, D parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from roughfed.deploy.attack.poison import Poison, PoisonContext
from roughfed.deploy.attack.poison.labels import PARTS, SNEAKER, SOURCE, LabelPoison
from roughfed.errors import ConfigError, TrainerError
from roughfed.params import Flat
from roughfed.rng import generator
from tests.bench.harness.learners import Learners


def hostile_names(names: Sequence[str], share: float, seed: int) -> set[str]:
    """Who attacks: the same clients in every federation with this seed; as many as the share is, rounded down.

    Raises:
        ConfigError: nobody would, or everybody.
    """
    count = math.floor(Fraction(str(share)) * len(names))
    if not 0 < count < len(names):
        who = "nobody" if count < 1 else "everybody"
        cure = f"give {1 / len(names):.2g} or more, and less than 1"
        raise ConfigError(f"{share:g} of {len(names)} clients is {who}", key="--attackers", cure=cure)
    order = generator(seed, "accuracy", "hostile").permutation(len(names))
    return {names[int(at)] for at in order[:count]}


class Attackers:
    """What the clients of a federation send: the honest ones their updates, the hostile ones the attack's.

    The attackers know everything: all honest updates of the round, n and f.
    """

    def __init__(
        self, poison: Poison | None, learners: Learners, hostile: set[str], *, seed: int, jitter: float = 0.0
    ) -> None:
        """Of one federation.

        Args:
            poison: what they do; None: nobody attacks.
            learners: everybody.
            hostile: names of those who attack.
            seed: of their noise.
            jitter: see `Poison.craft`.
        """
        self._poison, self._learners, self._hostile = poison, learners, hostile
        self._seed, self._jitter = seed, jitter
        self._first: dict[str, Flat] = {}
        self.goal = self._wrong(0) if poison and poison.names_a_class else None
        self.claims = dict.fromkeys(hostile, poison.claims) if poison and poison.claims else {}

    def updates(self, number: int, last_global: Flat | None = None) -> dict[str, Flat]:
        """Everybody's update of a round, float32 [D] by name, in order of the clients; who diverges has none.

        Args:
            number: of the round.
            last_global: what the round before moved the model by, float32 [D].
        """
        trained, poison = dict(self._trained(number)), self._poison
        honest = [trained[name] for name in sorted(trained) if name not in self._hostile]
        fellows = [trained[name] for name in sorted(trained) if name in self._hostile]
        if poison is None or not fellows or not honest:
            return trained
        for at, name in enumerate(sorted(self._hostile & trained.keys())):
            scene = PoisonContext(
                peers=np.stack(honest),
                own=fellows[at],
                clients=len(self._learners.names),
                attackers=len(self._hostile),
                rng=np.random.default_rng([self._seed, number, at]),
                last_global=last_global,
                last_own=self._first.get(name),
                fellows=np.stack(fellows),
            )
            trained[name] = poison.craft(scene, jitter=self._jitter)
            self._first.setdefault(name, trained[name])
        return trained

    def _trained(self, number: int) -> Iterator[tuple[str, Flat]]:
        places = {name: at for at, name in enumerate(sorted(self._hostile))}
        for index, name in enumerate(self._learners.names):
            try:
                wrong = self._wrong(places[name]) if name in places else None
                yield name, self._learners.update(index, number, wrong=wrong)
            except TrainerError:
                continue

    def _wrong(self, at: int) -> LabelPoison | None:
        """What is wrong with the data of the hostile client `at`."""
        if self._poison is None:
            return None
        data = self._poison.data
        part = 1 + at % PARTS if data == "part" else 0
        return LabelPoison(data, source=SNEAKER if data == "edge" else SOURCE, part=part)
