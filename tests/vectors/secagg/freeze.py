"""Writes round.json, the bytes of a whole round: `.venv/bin/python -m tests.vectors.secagg.freeze`, from the root.

Honest clients with fixed secrets, with and without sketches, and with one excluded. Every message is hashed as it is
sent (rosters without their CA-signed entries, since the CA is made anew). A changed hash is a changed protocol.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from roughfed.secagg import messages as m
from roughfed.types import Signed
from roughfed.wire.secagg import encode_stage
from tests.simulation.secagg import Round, make_round

FILE = Path(__file__).with_name("round.json")


def transcript(size: int = 4, *, dim: int = 16, rejected: int = -1) -> dict[str, str]:
    """SHA-256 of each message, by its kind, direction and client.

    Args:
        size: clients of the group.
        dim: sketch buckets, 0 for none.
        rejected: index of the client that the defence excludes; none below 0.
    """
    round_ = make_round(size, length=256, dim=dim)
    most = int(round_.terms.code_rms)  # about 0.6 C
    fixed = (np.arange(256) * 7 % (2 * most + 1) - most + round_.terms.zero).astype(round_.terms.dtype)
    round_.codes = {name: np.roll(fixed, 11 * i) for i, name in enumerate(round_.names)}
    seen: dict[str, str] = {}
    _listen(round_, seen)
    adverts = round_.advertise()
    for advert in adverts:
        seen[f"{advert.signer} -> Advertise"] = _hash(advert.body + advert.signature)
    out = {round_.names[rejected]: "defence"} if rejected >= 0 else {}
    outcome, group = round_.play(out)
    if outcome.total is None:
        raise AssertionError(outcome.void)
    for name, lanes in sorted(round_.lanes.items()):
        seen[f"{name} -> lanes"] = _hash(lanes.tobytes())
    total = outcome.total.astype("<i8")
    return seen | {"accepted": " ".join(outcome.accepted), "sum": _hash(total.tobytes()), "stage": group.stage.name}


def rounds() -> dict[str, dict[str, str]]:
    """What round.json holds."""
    return {
        "four clients": transcript(),
        "four clients, sums only": transcript(dim=0),
        "seven clients, one excluded": transcript(7, rejected=2),
    }


def _listen(round_: Round, seen: dict[str, str]) -> None:
    tell = round_.tell

    def noted(name: str, message: m.Message, signed: Signed | None = None) -> list[Signed]:
        plain = replace(message, members=()) if isinstance(message, m.Roster) else message  # ECDSA by a fresh CA
        body = encode_stage(plain) + (signed.signature if signed is not None else b"")
        seen[f"{type(message).__name__} -> {name}"] = _hash(body)
        answers = tell(name, message, signed)
        for answer in answers:
            seen[f"{name} -> answer to {type(message).__name__}"] = _hash(answer.body + answer.signature)
        return answers

    round_.tell = noted  # pyright: ignore[reportAttributeAccessIssue]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    FILE.write_text(json.dumps(rounds(), indent=1) + "\n")
