"""Certificates, signing requests and private keys of a peer: PEM texts, and DER under a PEM that fits it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from roughfed.crypto import certificates as x509
from roughfed.errors import RoughfedError

from .federation import NOW, authority, certificate, signing_request

RUNS = 1500
KINDS = ("CERTIFICATE", "CERTIFICATE REQUEST")

OF_CERTIFICATE: tuple[Callable[[bytes], Any], ...] = (
    x509.identity_of,
    x509.federation_of,
    x509.fingerprint,
    x509.load_certificate,
    x509.renew_at,
    lambda pem: x509.check_issued(pem, authority().certificate, role="client", now=NOW),
    lambda pem: x509.check_issued(certificate(), pem, role="client", now=NOW),
    lambda pem: x509.check_purpose(pem, role="client"),
    lambda pem: x509.check_validity(pem, now=NOW),
    x509.only_certificate,
    x509.load_chain,
    x509.encode_chain,
    lambda pem: x509.chain_below(pem, authority().certificate),
    lambda pem: x509.organisation_of(x509.load_certificate(pem)),
    lambda der: x509.decode_chain([der, der]),
    lambda pem: x509.check_issued(certificate() + pem, authority().certificate, role="client", now=NOW),
    lambda pem: x509.check_issued(certificate(), pem, role="client", now=None, federation="fuzz"),
)


def fuzz(data: bytes) -> None:
    if not data:
        return
    which, body = data[0], data[1:]
    pem = armoured(KINDS[which & 1], body) if which & 2 else body
    for look in (x509.read_request, x509.load_private) if which & 1 else OF_CERTIFICATE:
        try:
            look(pem)
        except RoughfedError:
            continue


def armoured(kind: str, der: bytes) -> bytes:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {kind}-----\n{text}-----END {kind}-----\n".encode()


def der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def seeds() -> list[bytes]:
    ca, leaf, request = authority().certificate, certificate(), signing_request()
    texts = [b"\x00" + ca, b"\x00" + leaf, b"\x01" + request]
    return [*texts, b"\x02" + der(ca), b"\x02" + der(leaf), b"\x03" + der(request)]
