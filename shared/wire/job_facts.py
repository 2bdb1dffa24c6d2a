"""Facts of a job: what the server made of sums over the clients, as JSON; limited before anything is parsed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import cast

from roughfed.errors import RemoteProtocolError

Facts = dict[str, tuple[float, ...]]

MAX_NUMBERS = 20_000
MAX_FACTS = 32
MAX_NAME = 64
MAX_BYTES = 32 * MAX_NUMBERS
"""No number takes more than 25 characters."""


def encode_facts(facts: Mapping[str, Sequence[float]]) -> str:
    """Facts to JSON; none to nothing. Numbers come back as the same float64."""
    plain = {name: [float(value) for value in values] for name, values in sorted(facts.items())}
    return json.dumps(plain, separators=(",", ":"), allow_nan=False) if plain else ""


def decode_facts(text: str) -> Facts:
    """JSON to facts.

    Raises:
        RemoteProtocolError: too long, no JSON object of lists of numbers, or a number that is not finite.
    """
    if not text:
        return {}
    if len(text) > MAX_BYTES:
        raise RemoteProtocolError(f"facts of {len(text)} characters, at most {MAX_BYTES} allowed", reason="size")
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"job.facts is not JSON: {error}", reason="schema") from None
    if not isinstance(found, dict):
        raise RemoteProtocolError("job.facts is not a JSON object", reason="schema")
    facts = {name: _numbers(name, values) for name, values in cast("dict[str, object]", found).items()}
    if len(facts) > MAX_FACTS or sum(map(len, facts.values())) > MAX_NUMBERS:
        raise RemoteProtocolError(f"{len(facts)} facts, or more than {MAX_NUMBERS} numbers", reason="size")
    return facts


def _numbers(name: str, values: object) -> tuple[float, ...]:
    if len(name) > MAX_NAME or not isinstance(values, list):
        raise RemoteProtocolError(f"the fact {name[:MAX_NAME]!r} is no list of numbers", reason="schema")
    numbers: list[float] = []
    for value in cast("list[object]", values):
        if type(value) not in (int, float) or not _finite(cast("float", value)):
            raise RemoteProtocolError(f"the fact {name!r} has a value that is no finite number", reason="schema")
        numbers.append(float(cast("float", value)))
    return tuple(numbers)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer of hundreds of digits
        return False
