"""Disputes about a pair's sketch: two members signed different sketches of the mask that they share.

Resolved by proof, never by counting: each side is shown the other's signed sketch and may open the pair's key, which
tells who lied. Nobody is asked for more keys than a client opens in a round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from roughfed.crypto.masks import Lanes
from roughfed.secagg import messages as m
from roughfed.secagg.unmasking import Claim

Pair = tuple[str, str]


class Disputes:
    """The disputes of one group."""

    def __init__(self, most_questions: int) -> None:
        """`most_questions`: keys that a client opens at most."""
        self._most = most_questions
        self._new: set[Pair] = set()
        self._keys: dict[Pair, bytes | None] = {}
        self._asked: dict[str, int] = {}

    def compare(self, name: str, claims: Mapping[str, Claim]) -> None:
        """Hold a claim that has just come against those that are here: each pair is looked at once."""
        for mate, lanes in claims[name].pairs.items():
            if mate in claims and not np.array_equal(lanes, claims[mate].pairs[name]):
                self._new.add((name, mate) if name < mate else (mate, name))

    @property
    def new(self) -> bool:
        """Whether there is a pair whose sketches differ that nobody was asked about."""
        return bool(self._new)

    def ask(self, claims: Mapping[str, Claim]) -> list[tuple[str, m.Conflict]]:
        """Whom to ask about which pair: both sides of every new one, as far as they may be asked."""
        questions: list[tuple[str, m.Conflict]] = []
        pairs, self._new = sorted(self._new), set()
        for name, mate in pairs:
            self._keys[name, mate] = None
            for asked, other in ((name, mate), (mate, name)):
                if (before := self._asked.get(asked, 0)) < self._most:
                    self._asked[asked] = before + 1
                    questions.append((asked, m.Conflict(other, claims[other].signed)))
        return questions

    def owing(self) -> set[str]:
        """Who was asked about a pair that nobody has opened yet."""
        return {name for pair, key in self._keys.items() if key is None for name in pair} & self._asked.keys()

    def knows(self, pair: Pair) -> bool:
        """Whether there is a dispute about this pair."""
        return pair in self._keys

    def opened(self, pair: Pair, key: bytes) -> None:
        """The pair's key, true to the tag that both published."""
        self._keys[pair] = key

    def liars(self, claims: Mapping[str, Claim], sketch: Callable[[bytes], Lanes]) -> set[str]:
        """Whose sketch is not that of the opened key."""
        found: set[str] = set()
        for (a, b), key in self._keys.items():
            if key is not None:
                truth = sketch(key)
                found |= {x for x, y in ((a, b), (b, a)) if not np.array_equal(claims[x].pairs[y], truth)}
        return found

    def unsettled(self) -> list[Pair]:
        """Pairs that nobody opened."""
        return [pair for pair, key in self._keys.items() if key is None]
