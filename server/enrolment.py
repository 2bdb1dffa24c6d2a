"""The enrolment port: turns invites into certificates, and certificates into fresh ones.

Its own port, since gRPC cannot ask for a client certificate only from those who have one. TLS, tiny messages,
rate-limited. Methods take and give bytes, so that malformed requests get a reason like all others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import grpc
import grpc.aio

from roughfed.errors import RoughfedError, StorageError, TooLarge
from roughfed.rate_limit import Rate, RateLimit, address_of
from roughfed.server.authority import Authority
from roughfed.server.ports import open_port
from roughfed.transport.names import REASON_KEY
from roughfed.wire import enrolment as wire
from roughfed.wire.member_list import decode_list_request

MAX_REQUEST_BYTES = 16 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", 8),
    ("grpc.server_handshake_timeout_ms", 10_000),  # a peer that connects and says nothing
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a second server behind it
)

log = logging.getLogger(__name__)

OnResult = Callable[[str, str], None]
Context = grpc.aio.ServicerContext[bytes, bytes]


def default_limit() -> RateLimit:
    """A burst of 64 requests for each address and of 512 in all, then 8 and 64 a second."""
    return RateLimit(each=Rate(64, 8), total=Rate(512, 64), clock=time.monotonic)


def _ignore(_kind: str, _result: str) -> None:
    """No metrics."""


@dataclass(frozen=True, slots=True)
class EnrolmentService:
    """The four methods over an authority.

    Attributes:
        authority: who may belong.
        federation_address: host:port of the federation port, or `:port` for "the host you reached me at".
        limit: how often one may ask.
        on_result: called with the method's kind ("authority", "enroll", "renew", "members") and "ok" or the reason.
        now: the time, aware.
    """

    authority: Authority
    federation_address: str
    limit: RateLimit
    on_result: OnResult = _ignore
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server serves."""
        methods = {
            "GetAuthority": self._method("authority", self.get_authority),
            "Enroll": self._method("enroll", self.enroll),
            "Renew": self._method("renew", self.renew),
            "GetMembers": self._method("members", self.get_members),
        }
        return grpc.method_handlers_generic_handler(wire.SERVICE, methods)

    def get_authority(self, _request: bytes) -> bytes:
        """The CA certificate, to be compared with the join line."""
        return wire.encode_authority(wire.AuthorityReply(self.authority.certificate, self.authority.federation))

    def enroll(self, request: bytes) -> bytes:
        """Token and CSR -> credentials.

        Raises:
            RemoteProtocolError: malformed.
            IdentityError: see `Authority.enroll`.
        """
        asked = wire.decode_enroll(request)
        credentials = self.authority.enroll(
            asked.token, asked.csr, asked.identity_key, proof=asked.proof, now=self.now()
        )
        return self._reply(credentials)

    def renew(self, request: bytes) -> bytes:
        """Signed CSR -> credentials.

        Raises:
            RemoteProtocolError: malformed.
            IdentityError: see `Authority.renew`.
        """
        asked = wire.decode_renew(request)
        credentials = self.authority.renew(
            asked.csr, asked.member, requested_at=asked.requested_at, proof=asked.proof, now=self.now()
        )
        return self._reply(credentials)

    def get_members(self, request: bytes) -> bytes:
        """Signed request of a member -> the list of members.

        Raises:
            RemoteProtocolError: malformed.
            IdentityError: see `Authority.listed_for`.
        """
        member, requested_at, proof = decode_list_request(request)
        return self.authority.listed_for(member, requested_at=requested_at, proof=proof, now=self.now())

    def _reply(self, credentials: wire.Credentials) -> bytes:
        return wire.encode_credentials(replace(credentials, federation_address=self.federation_address))

    def _method(self, kind: str, operation: Callable[[bytes], bytes]) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def call(request: bytes, context: Context) -> bytes:
            try:
                if not self.limit.allow(address_of(context.peer())):
                    raise TooLarge("too many requests; try again in a minute", reason="rate")
                # Signing and the disk would hold up the event loop.
                reply = await asyncio.to_thread(operation, request)
            except StorageError as error:
                self.on_result(kind, error.reason)
                log.error("enrolment: %s failed: %s", kind, error)  # paths of this machine stay on it
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server's disk refused", _reason(error.reason))
            except RoughfedError as error:
                self.on_result(kind, error.reason)
                await context.abort(grpc.StatusCode[error.status], str(error), _reason(error.reason))
            except Exception:
                self.on_result(kind, "internal")
                log.exception("enrolment: %s failed", kind)
                await context.abort(grpc.StatusCode.INTERNAL, "internal error", _reason("internal"))
            self.on_result(kind, "ok")
            return reply

        return grpc.unary_unary_rpc_method_handler(call)


def _reason(reason: str) -> tuple[tuple[str, str]]:
    return ((REASON_KEY, reason),)


async def serve(
    service: EnrolmentService, address: str, *, credentials: grpc.ServerCredentials
) -> tuple[grpc.aio.Server, int]:
    """Start the enrolment port.

    Args:
        service: what to serve.
        address: host:port to listen on; port 0 picks a free one.
        credentials: TLS with a server certificate of the authority; dynamic ones rotate by themselves.

    Returns:
        the running server, which the caller stops, and the port it listens on.

    Raises:
        ConfigError: it cannot listen there.
    """
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=64)
    server.add_generic_rpc_handlers((service.handler(),))
    return server, await open_port(server, address, credentials, key="server.enrol_port")
