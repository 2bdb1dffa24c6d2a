"""Federations that are played one after the other, or several at once, a core each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Game = TypeVar("Game")
Outcome = TypeVar("Outcome")


def played(play: Callable[[Game, Any], Outcome], games: Sequence[Game], options: Any) -> Iterator[tuple[Game, Outcome]]:
    """Every game with its outcome, in order.

    Args:
        play: a function of a module.
        games: what to play.
        options: a benchmark's, with `workers`.
    """
    if options.workers == 1:
        yield from ((game, play(game, options)) for game in games)
        return
    with ProcessPoolExecutor(options.workers) as pool:
        yield from zip(games, pool.map(play, games, [options] * len(games)), strict=True)
