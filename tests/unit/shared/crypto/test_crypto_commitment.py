"""Commitments: frozen, opened by one secret in one place only."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from roughfed.crypto import commitment
from roughfed.crypto.commitment import commit, opens
from roughfed.errors import LocalProtocolError

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "secagg" / "commitment.json").read_text())
SECRET, HEADER = bytes.fromhex(VECTORS["secret"]), bytes.fromhex(VECTORS["header_digest"])
COMMITMENT = bytes.fromhex(VECTORS["commitment"])


def test_a_commitment_is_frozen_and_opens() -> None:
    assert commit(SECRET, HEADER, VECTORS["name"]) == COMMITMENT
    by_hand = b"roughfed commitment v1\0" + HEADER + b"\0\5alpha" + SECRET
    assert hashlib.sha256(by_hand).digest() == COMMITMENT
    assert opens(COMMITMENT, SECRET, HEADER, "alpha")


@pytest.mark.parametrize("bad", VECTORS["bad"])
def test_nothing_else_opens_it(bad: str) -> None:
    v = VECTORS["bad"][bad]
    assert not opens(COMMITMENT, bytes.fromhex(v["secret"]), bytes.fromhex(v["header_digest"]), v["name"])


@pytest.mark.parametrize("other", [b"", COMMITMENT[:-1], COMMITMENT + b"\0", bytes(32)])
def test_another_commitment_is_not_opened(other: bytes) -> None:
    assert not opens(other, SECRET, HEADER, "alpha")


@pytest.mark.parametrize(("secret", "header"), [(SECRET[:-1], HEADER), (b"", HEADER), (SECRET, HEADER[:-1])])
def test_other_lengths_are_refused(secret: bytes, header: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="want 32"):
        commit(secret, header, "alpha")


def test_it_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(commitment, "hmac", Watched)
    assert opens(COMMITMENT, SECRET, HEADER, "alpha")
    assert compared == [(COMMITMENT, COMMITMENT)]


def test_errors_tell_no_secret() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        commit(SECRET[:-1], HEADER, "alpha")
    assert SECRET[:16].hex() not in repr(caught.value)
