"""Attacks beside the calls of a round: the enrolment port, certificates, and words that only lie about a client."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc

from roughfed.client.members.credential_files import Credentials
from roughfed.crypto import certificates, identity
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy import aggregator
from roughfed.messages import Heartbeat, Leave, Machine
from roughfed.wire import enrolment as wire
from roughfed.wire.session import encode_client_message

from .corpus import ENROLMENTS, NOBODY, Row, Scene
from .corpus_calls import DENIED
from .federation import state_of
from .peer import Peer, refusal
from .test_identity import CASES, NO_HANDSHAKE, QUESTION, another_ca


def ask(s: Scene, method: str, request: bytes) -> object:
    """A call of the enrolment port."""
    address = f"{s.cluster.host}:{aggregator.known_ports(s.cluster.place.folder).enrolment}"
    credentials = grpc.ssl_channel_credentials(s.peers["x0"].papers.ca_certificate)
    options = [("grpc.ssl_target_name_override", certificates.SERVER_HOST), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(address, credentials, options=options) as channel:
        try:
            return channel.unary_unary(f"/{wire.SERVICE}/{method}")(request, timeout=10)
        except grpc.RpcError as error:
            return refusal(error)


@dataclass(frozen=True)
class Enrol:
    """Ask for a membership with a token."""

    token: Callable[[Scene], bytes]
    signs: bytes | None = None
    csr: bytes | None = None

    def __call__(self, s: Scene) -> object:
        key = IdentityKey.generate()
        csr, token = self.csr or certificates.new_request(certificates.new_tls_key()), self.token(s)
        proof = key.sign(identity.ENROL_DOMAIN, identity.enrolment_body(self.signs or token, csr))
        return ask(s, "Enroll", wire.encode_enroll(wire.EnrollRequest(token, csr, key.public_key, proof)))


def renew(of: str, *, by: str = "", age_s: int = 0, entry: Callable[[Credentials], bytes] | None = None) -> Any:
    """Ask for a certificate of this member, signed by another."""

    def how(s: Scene) -> object:
        papers, signer = s.peers[of].papers, s.peers[by or of].papers.identity
        csr, at = certificates.new_request(certificates.new_tls_key()), int(time.time()) - age_s
        proof = signer.sign(identity.RENEW_DOMAIN, identity.renewal_body(at, csr))
        member = papers.member if entry is None else entry(papers)
        return ask(s, "Renew", wire.encode_renew(wire.RenewRequest(csr, member, at, proof)))

    return how


def own_entry(papers: Credentials) -> bytes:
    """The roster entry as another CA would sign it."""
    ca = another_ca()
    entry = wire.open_member(papers.member, papers.ca_certificate)
    body = wire.encode_roster_entry(replace(entry, federation=ca.federation))
    return wire.encode_member(body, ca.sign_roster(body))


def entry(name: str, how: Any, reason: str, *, status: str = DENIED, under: str = "refused") -> Row:
    return Row(name, how, (status, reason), ENROLMENTS, under)


def used(s: Scene) -> bytes:
    return s.tokens["x0"]


def fresh(s: Scene) -> bytes:
    return s.tokens["nobody"]


ENTRY = [
    entry("a token for the second time", Enrol(used), "token-used"),
    entry("a guessed token", Enrol(lambda _: secrets.token_bytes(32)), "token-unknown"),
    entry("a token that somebody else signed for", Enrol(fresh, signs=bytes(32)), "signature"),
    entry("a token with a request that is none", Enrol(fresh, csr=b"-----BEGIN CERTIFICATE REQUEST-----\n"), "csr"),
    entry("garbage for an enrolment", lambda s: ask(s, "Enroll", b"\xff" * 64), "protocol", status="INVALID_ARGUMENT"),
    entry("another's certificate, renewed under the own key", renew("c0", by="x0"), "signature"),
    entry("a renewal of a revoked member", renew("r0"), "revoked", under="revoked"),
    entry("a renewal of an hour ago", renew("x0", age_s=3600), "clock"),
    entry("a renewal for an entry of another CA", renew("x0", entry=own_entry), "roster"),
]


def certified(forge: Callable[..., Credentials]) -> Callable[[Scene], object]:
    def how(s: Scene) -> object:
        with Peer(s.cluster.address, forge(s.cluster, s.peers["x0"].papers)) as peer:
            return peer.ask("UpdateStatus", QUESTION)

    return how


def without_certificate(s: Scene) -> object:
    with Peer(s.cluster.address, s.peers["x0"].papers, anonymous=True) as peer:
        return peer.ask("UpdateStatus", QUESTION)


UNDER = {"foreign": "identity", "revoked": "revoked"}
CERTIFICATES = [
    Row(
        f"a certificate {name}",
        certified(forge),
        answer,
        NOBODY if answer == NO_HANDSHAKE else "refusals_total",
        UNDER.get(answer[1], ""),
    )
    for name, (forge, answer) in CASES.items()
] + [Row("no certificate", without_certificate, NO_HANDSHAKE, NOBODY)]

HUGE = Machine(1 << 62, 1 << 62, 7.0, 1e300, 1 << 62, 1e300)


def abused(s: Scene) -> object:
    """Figures that no machine has, and a phase that is the server's to say."""
    peer = s.peers["x1"]
    peer.join()
    peer.send(encode_client_message(Heartbeat("received", 0.5, HUGE)))
    with s.cluster.watch() as watch:
        seen = watch.until(lambda now: any(c["name"] == "x1" and c["machine"] is not None for c in now["clients"]))
    [row] = [c for c in seen["clients"] if c["name"] == "x1"]
    return state_of(seen, "x1"), {value for key, value in row["machine"].items() if key != "clock_skew_s"}


def left(s: Scene) -> object:
    """It goes for ever; that is its own affair."""
    s.peers["x1"].send(encode_client_message(Leave("for ever", 1e300)))
    return s.peers["x1"].end()


LIES = [
    Row("a heartbeat with figures of no machine and the server's own word", abused, ("other", {None}), NOBODY),
    Row("a leave for ever", left, ("OK", ""), NOBODY),
]
