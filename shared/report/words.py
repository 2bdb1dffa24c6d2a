"""What the modes show and why updates do not count, in words: the same on terminals and on pages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

VOID = "void"
"""Reason of an exclusion: the client's group gave no sum, through no fault of its own."""

BLAMELESS = (VOID, "not-needed", "no-seat", "left-out", "dropped", "abandoned", "revoked")
"""Reasons of exclusions that say nothing about the client's update."""

SEEN: Mapping[str, str] = MappingProxyType(
    {
        "updates": "every client's whole update",
        "sketches": "sums of groups, sketches of updates",
        "sums": "sums of groups, nothing of a client",
    }
)
"""What the server sees, in short."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "copy": "the defence: as good as the same as another update",
        "together": "the defence: pulls with a few others where the rest do not go, over several rounds",
        "disagrees": "the defence: pulls another way than the others, over several rounds",
        "long": "the defence: much longer than the others, over several rounds",
        "root": "the defence: pulls another way than the server's own examples",
        "norm-bound": "the defence: more than twice as long as the others",
        "krum": "the defence: not the one that is nearest to its neighbours",
        "multi-krum": "the defence: too far from the other updates",
        "bulyan": "the defence: not among those nearest to their neighbours",
        "fltrust": "the defence: pulls another way than the server's own examples",
        "flame": "the defence: not in the cluster of the majority",
        "dnc": "the defence: far out in the direction in which updates differ most",
        "foolsgold": "the defence: pulls the same way as another, round after round",
        "free-rider": "trains nothing: zeros, noise, or an update that was sent before",
        "norm": "longer than the norm bound allows",
        "magnitude": "ten thousand times as long as the others",
        VOID: "its group gave no sum, through no fault of its own",
        "dispute": "two clients contradict each other, and neither opened the key",
        "left-out": "too few others confirmed their keys to it",
        "no-advert": "sent no keys in time",
        "no-shares": "dealt no shares in time",
        "no-sketch": "sent no sketch",
        "no-seat": "had no seat in a group",
        "not-needed": "the only group was full: by lot",
        "dropped": "uploaded nothing",
        "abandoned": "the round was given up before its sum was unmasked",
        "revoked": "revoked by the operator",
        "over-bound": "proved: signed a sketch of twice the norm that is allowed",
        "false-sketch": "proved: its sketch is not that of its update",
        "false-pair-sketch": "proved: its sketch of a common mask is false",
        "false-tag": "proved: confirmed other keys than it has",
        "false-complaint": "proved: complained about a good share",
        "bad-share": "proved: dealt a share that cannot be opened, or is wrong",
        "bad-deal": "proved: dealt shares of something else than it committed to",
        "bad-answer": "proved: answered with another share than it was dealt",
    }
)
"""Why an update is not in the sum, or a client is out."""

FREE_RIDING: Mapping[str, str] = MappingProxyType(
    {
        "zero": "sends nothing, or next to nothing",
        "noise": "sends noise: no angle to anybody but by chance",
        "last-step": "sends the last step of the model back",
        "own-old": "sends its own earlier update again",
        "copy": "sends another client's update",
    }
)
"""What speaks for a free-rider (`roughfed.server.extensions.free_riders.detection`)."""


def reason(word: str) -> str:
    """A reason in words; itself where there are none."""
    return REASONS.get(word, word)


def free_riding(word: str) -> str:
    """What speaks for a free-rider, in words; itself where there are none."""
    return FREE_RIDING.get(word, word)
