"""Shares of secrets and sealed messages of a peer, and the public keys that it advertises.

Who deals them chose them: a share is 33 bytes or refused, a sealed message opens or not, a key agrees or is refused.
"""

from __future__ import annotations

from roughfed.crypto import agreement, sealing, shamir
from roughfed.errors import IdentityError, LocalProtocolError, RoughfedError
from roughfed.secagg import messages as m
from roughfed.secagg.dealing import Seat, shares_fit
from roughfed.wire.secagg import decode_stage, encode_stage

from .values import D

RUNS = 4000
SEAT = Seat(name="alpha", names=("alpha", "beta", "gamma"), header_digest=D, group=0, roster_digest=D)
SECRET = D


def combined(data: bytes) -> None:
    shares = {x: data[33 * (x - 1) : 33 * x] for x in (1, 2, 3)}
    assert len(shamir.combine(shares, 2)) == shamir.SECRET_BYTES


def opened(data: bytes) -> None:
    sealing.open_sealed(D, data, aad=SEAT.aad("beta", "alpha"))


def agreed(data: bytes) -> None:
    try:
        agreement.exchange(D, data)
    except IdentityError:
        return


def dealt(data: bytes) -> None:
    for sealed in decode_stage(m.Shares, data).sealed:
        assert not shares_fit(sealed, (sealed.ciphertext[:33], sealed.ciphertext[33:]), 1, SEAT.own_info)


def unmasked(data: bytes) -> None:
    answer = decode_stage(m.Unmask, data)
    for given in (answer.self_mask, answer.mask_secret):
        shamir.combine({x: value for x, (_, value) in enumerate(given[:8], 1)}, 2)


WAYS = (combined, opened, agreed, dealt, unmasked)


def fuzz(data: bytes) -> None:
    if not data:
        return
    try:
        WAYS[data[0] % len(WAYS)](data[1:])
    except LocalProtocolError:
        raise
    except RoughfedError:
        return


def stream(count: int) -> bytes:
    """Entropy that is always the same."""
    return bytes(at * 37 % 251 for at in range(count))


def seeds() -> list[bytes]:
    shares = shamir.split(SECRET, (1, 2, 3), threshold=2, entropy=stream)
    sealed = sealing.seal(D, shares[0] + shares[1], aad=SEAT.aad("beta", "alpha"), entropy=stream)
    one = m.Sealed("alpha", sealed, D, D, D, D, D)
    answer = m.Unmask(D, tuple(zip(SEAT.names, shares, strict=True)), tuple(zip(SEAT.names, shares, strict=True)))
    messages = (b"".join(shares), sealed, D, encode_stage(m.Shares(D, D, (one, one))), encode_stage(answer))
    return [bytes([number]) + message for number, message in enumerate(messages)]
