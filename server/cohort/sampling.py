"""Who takes part in a round: a pure function of who is connected, the round, and the run's seed.

In a masked round a beacon takes the place of the seed (`roughfed.cohort_order`): clients work the order out, too.

Over-selection and goal count as in Bonawitz et al., MLSys 2019, section 4 ("Towards federated learning at scale"):
more clients are asked than are needed, the first `goal` updates close the round, the rest is late. How many, say
`roughfed.config.federation.Round.goal`, `invited` and `needed`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from roughfed.rng import generator

Order = Callable[[str], bytes]

log = logging.getLogger(__name__)


def able(offered: Mapping[str, Sequence[str]], codec: str) -> list[str]:
    """Who can produce a codec; the others are named in the log.

    Args:
        offered: names of the codecs that a client said it can produce, by client.
        codec: of the round.

    Returns:
        clients, sorted.
    """
    if without := sorted(name for name, codecs in offered.items() if codec not in codecs):
        log.warning("not asked, because they cannot encode updates as %s: %s", codec, ", ".join(without))
    return sorted(name for name, codecs in offered.items() if codec in codecs)


def choose(
    connected: Sequence[str], *, invited: int, seed: int, round_number: int, order: Order | None = None
) -> tuple[str, ...]:
    """Draw the cohort of a round.

    Args:
        connected: names of the clients that could take part.
        invited: how many of them to ask.
        seed: the run's seed.
        round_number: the round.
        order: of a masked round: those with the least values are asked.

    Returns:
        their names, sorted; the same for the same arguments, whatever the order of `connected`.
    """
    names = sorted(connected)
    if invited >= len(names):
        return tuple(names)
    if order is not None:
        return tuple(sorted(sorted(names, key=order)[:invited]))
    drawn = generator(seed, "cohort", round_number).choice(len(names), size=invited, replace=False)
    return tuple(sorted(names[int(i)] for i in drawn))
