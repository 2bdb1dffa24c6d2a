"""Enrolling and renewing: the client's side of the enrolment port.

Nobody is trusted on first use. The server's certificate is fetched unverified and used for one question: the CA
certificate. Only when that has the fingerprint of the join line, and has issued the server's certificate, does a
second channel, verified against the CA, carry the token.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio

from roughfed.client.members import credential_files
from roughfed.client.members.credential_files import CredentialRecord, Credentials, Keys
from roughfed.crypto import certificates, identity
from roughfed.crypto.join_line import JoinLine
from roughfed.crypto.member_list import AuthorityTrust
from roughfed.errors import ConfigError, IdentityError, RemoteProtocolError, RoughfedError, Unreachable
from roughfed.transport.names import reason_of
from roughfed.wire import enrolment as wire
from roughfed.wire.member_list import (
    LIST_REQUEST_DOMAIN,
    MAX_LIST_BYTES,
    encode_list_request,
    list_request_body,
    open_signed,
)

log = logging.getLogger(__name__)

BY_FILES = "roughfed csr, have its request signed, then roughfed enrol"
"""How a certificate of somebody else's CA is renewed."""

TIMEOUT_S = 20.0
_OPTIONS = (
    ("grpc.ssl_target_name_override", certificates.SERVER_HOST),
    ("grpc.enable_http_proxy", 0),
)


async def enroll(line: JoinLine, folder: Path, *, now: datetime | None = None) -> Credentials:
    """Become a member, or find that this line already made this folder one.

    The keys are made here and on disk before the token leaves. A join line for a folder that is enrolled by another
    line replaces its credentials, once the new ones are complete.

    Args:
        line: the join line.
        folder: for keys and credentials; made if it is not there.
        now: aware; None asks the clock.

    Raises:
        IdentityError: wrong CA; token used, expired or unknown; what came back is not what was asked for.
        Unreachable: nobody answers there.
        ConfigError: the folder is damaged.
        StorageError: the disk refused.
    """
    now = now or datetime.now(UTC)
    token_sha256 = hashlib.sha256(line.secret).hexdigest()
    if await asyncio.to_thread(_is_done, folder, token_sha256):
        return credential_files.load(folder)
    ca_certificate = await _trusted_authority(line, now=now)
    keys = await asyncio.to_thread(credential_files.prepare, folder, token_sha256)
    csr = certificates.new_request(keys.tls_key)
    proof = keys.identity.sign(identity.ENROL_DOMAIN, identity.enrolment_body(line.secret, csr))
    request = wire.EnrollRequest(line.secret, csr, keys.identity.public_key, proof)
    reply = await _call("Enroll", wire.encode_enroll(request), line.address, root=ca_certificate)
    issued = wire.decode_credentials(reply)
    _check(issued, keys, ca_certificate, now=now)
    address = _reachable(issued.federation_address, line)
    record = CredentialRecord(line.address, address, token_sha256)
    await asyncio.to_thread(credential_files.commit, folder, issued, record)
    return credential_files.load(folder)


async def renew(
    folder: Path,
    *,
    address: str = "",
    server: str = "",
    now: datetime | None = None,
    force: bool = False,
    new_key: bool = False,
) -> bool:
    """Get a fresh certificate if two thirds of the present one's life are over, or it has expired.

    A client with a good certificate asks at the federation port, where strangers have no say, and at the enrolment port
    if it gets no answer there: the CA may be elsewhere, or the server older.

    Args:
        folder: of the credentials.
        address: the enrolment port's, if it has moved since the enrolment.
        server: the federation port's, if it has moved since then.
        now: aware; None asks the clock.
        force: whatever the age of the present one.
        new_key: for a new TLS key. The identity key stays: it is who this member is.

    Returns:
        whether there is a new certificate.

    Raises:
        IdentityError: revoked, replaced, or the clocks differ by more than five minutes.
        Unreachable: nobody answers; the present certificate and key stay.
        ConfigError: the folder is not enrolled or damaged.
    """
    now = now or datetime.now(UTC)
    own = await asyncio.to_thread(credential_files.load, folder)
    if own.external and not new_key and now < certificates.renew_at(own.certificate):
        return False  # whoever asks reads these credentials anew: they may have come since
    if own.external:
        raise Unreachable("the CA is not roughfed's, and renews nothing over the network", cure=BY_FILES)
    if not (force or new_key) and now < certificates.renew_at(own.certificate):
        return False
    tls_key = certificates.new_tls_key() if new_key else own.tls_key
    csr = certificates.new_request(tls_key)
    requested_at = int(now.timestamp())
    proof = own.identity.sign(identity.RENEW_DOMAIN, identity.renewal_body(requested_at, csr))
    request = wire.encode_renew(wire.RenewRequest(csr, own.member, requested_at, proof))
    reply = await _renewal(request, own, server or own.record.federation_address, now=now)
    if reply is None:
        reply = await _call("Renew", request, address or own.record.enrolment_address, root=own.ca_certificate)
    issued = wire.decode_credentials(reply)
    _check(issued, Keys(tls_key, own.identity), own.ca_certificate, now=now)
    if new_key:
        await asyncio.to_thread(credential_files.replace_key, folder, tls_key, issued.certificate)
    else:
        await asyncio.to_thread(credential_files.replace_certificate, folder, issued.certificate)
    return True


async def fetch_members(folder: Path, *, now: datetime | None = None) -> bytes:
    """The list of members from the CA where this member enrolled, verified: a serialized SignedMemberList.

    Raises:
        IdentityError: this member is revoked or replaced, or the list is not signed by the CA.
        Unreachable: nobody answers.
        ConfigError: the folder is not enrolled or damaged, or the CA is not roughfed's, and signs no list.
    """
    now = now or datetime.now(UTC)
    own = await asyncio.to_thread(credential_files.load, folder)
    if own.external:
        cause = "there is no members.list in the server's directory, and the CA is not roughfed's: it signs none"
        raise ConfigError(
            cause, cure="roughfed roster propose --members FOLDER; organisations sign it, then put it there"
        )
    requested_at = int(now.timestamp())
    proof = own.identity.sign(LIST_REQUEST_DOMAIN, list_request_body(requested_at))
    request = encode_list_request(own.member, requested_at, proof)
    address = own.record.enrolment_address
    signed = await _call("GetMembers", request, address, root=own.ca_certificate, at_most=2 * MAX_LIST_BYTES)
    open_signed(signed, AuthorityTrust(own.ca_certificate), own.subject.federation)
    return signed


def _is_done(folder: Path, token_sha256: str) -> bool:
    return credential_files.is_enrolled(folder) and credential_files.load(folder).record.token_sha256 == token_sha256


async def _trusted_authority(line: JoinLine, *, now: datetime) -> bytes:
    """The CA certificate (PEM) that the join line vouches for. Sends nothing secret."""
    leaf = await _presented_certificate(line)
    certificates.check_validity(leaf, now=now)  # these two only for their words: gRPC would say "unavailable"
    certificates.check_purpose(leaf, role="server")
    # gRPC takes any certificate as an anchor: this channel reaches whoever presented the leaf, and no further.
    reply = wire.decode_authority(await _call("GetAuthority", b"", line.address, root=leaf))
    ca_certificate = certificates.only_certificate(reply.ca_certificate)
    found = certificates.fingerprint(ca_certificate)
    if not hmac.compare_digest(found, line.ca_fingerprint):
        raise IdentityError(
            f"{line.address} shows a CA with fingerprint {found.hex()[:16]}, the join line names "
            f"{line.ca_fingerprint.hex()[:16]}: another federation answers there, or somebody is in between. "
            "Nothing secret was sent. Ask for a new invite: roughfed invite NAME",
            reason="fingerprint",
        )
    certificates.check_issued(leaf, ca_certificate, role="server", now=now)
    return ca_certificate


async def _presented_certificate(line: JoinLine) -> bytes:
    try:
        pem = await asyncio.to_thread(ssl.get_server_certificate, (line.host, line.port), timeout=TIMEOUT_S)
    except OSError as error:  # refused, no such host, timeout, not TLS
        raise _unreachable(line.address, error.strerror or str(error) or type(error).__name__) from error
    return pem.encode("ascii")


async def _renewal(request: bytes, own: Credentials, server: str, *, now: datetime) -> bytes | None:
    """What the federation port answers; None where it is not to be asked, or does not answer."""
    ends = certificates.load_certificate(own.certificate).not_valid_after_utc
    if own.subject.role != "client" or not server or now >= ends:
        return None
    try:
        return await _call("Renew", request, server, root=own.ca_certificate, own=own)
    except (Unreachable, RemoteProtocolError) as error:
        log.debug("the federation port renews nothing: %s", error)
    except IdentityError as error:
        if error.reason != "tls":
            raise
        log.debug("the federation port renews nothing: %s", error)
    return None


async def _call(
    method: str, request: bytes, address: str, *, root: bytes, own: Credentials | None = None, at_most: int = 64 * 1024
) -> bytes:
    pair = (own.tls_key, own.certificate) if own is not None else (None, None)
    channel_credentials = grpc.ssl_channel_credentials(root, *pair)
    options = (*_OPTIONS, ("grpc.max_receive_message_length", at_most))
    async with grpc.aio.secure_channel(address, channel_credentials, options=options) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{wire.SERVICE}/{method}")
        try:
            return await ask(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _translated(error, address) from None  # gRPC's own words add nothing for a person


def _translated(error: grpc.aio.AioRpcError, address: str) -> RoughfedError:
    code, details = error.code(), error.details() or ""
    reason = reason_of(error.trailing_metadata())
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return IdentityError(details, reason=reason or "identity")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _unreachable(address, details)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        if "CERTIFICATE_VERIFY_FAILED" in details:
            return IdentityError(f"the certificate of {address} is not this federation's server's", reason="tls")
        return _unreachable(address, details if reason else f"no answer ({code.name.lower().replace('_', ' ')})")
    return RemoteProtocolError(f"{address}: {details}", reason=reason or "protocol")


def _unreachable(address: str, why: str) -> Unreachable:
    return Unreachable(
        f"the enrolment port {address} does not answer: {why}",
        cure="is the server running (roughfed server), and do host, port and firewall let you through?",
    )


def _check(issued: wire.IssuedCredentials, keys: Keys, ca_certificate: bytes, *, now: datetime) -> None:
    """What came back must be for our keys and from our CA, under one name."""
    certificates.check_key(issued.certificate, keys.tls_key)
    entry = wire.open_member(issued.member, ca_certificate)
    subject = certificates.check_issued(issued.certificate, ca_certificate, role=entry.role, now=now)
    if entry.subject != subject or entry.identity_key != keys.identity.public_key:
        raise IdentityError("certificate and roster entry are not both for this member's keys", reason="credentials")
    if issued.ca_certificate != ca_certificate:
        raise IdentityError("the answer names another CA", reason="credentials")


def _reachable(federation_address: str, line: JoinLine) -> str:
    """A server that listens everywhere does not know its own name: take the one that the join line reached."""
    host, _, port = federation_address.rpartition(":")
    if host not in ("", "0.0.0.0", "[::]"):  # noqa: S104 - compared, not listened on
        return federation_address
    return f"{line.address.rpartition(':')[0]}:{port}"
