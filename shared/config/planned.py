"""Settings that later versions bring: refused by name, never as a mere unknown key, never accepted and ignored."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LATER = "is for later, not now"
_DP = f"Differential privacy: this {_LATER}"

TABLES: Mapping[str, str] = MappingProxyType({"dp": _DP})

# A name in any table, or a dotted key.
KEYS: Mapping[str, str] = MappingProxyType(
    {
        "asynchronous": f"Asynchronous rounds: this {_LATER}",
        "external_ca": f"An external CA: this {_LATER}",
        **dict.fromkeys(
            ("privacy.dp", "privacy.epsilon", "privacy.delta_dp", "privacy.noise_multiplier", "privacy.claim"), _DP
        ),
    }
)


def planned_key(dotted: str, *, server_sees: object = "") -> str:
    """The sentence about an unknown key that a later version brings; empty when none does.

    Args:
        dotted: the key.
        server_sees: `privacy.server_sees`, where it adds a reason.
    """
    table, _, name = dotted.partition(".")
    sentence = TABLES.get(table) or KEYS.get(dotted) or KEYS.get(name)
    if not sentence:
        return ""
    aside = ""
    if sentence == _DP and server_sees == "sketches":
        aside = (
            ', and privacy.server_sees = "sketches" would undo it: sketches show numbers of each update without noise'
        )
    return f"{sentence}; it is not built yet{aside}."
