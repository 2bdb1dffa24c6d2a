"""The enrolment port: turns invites into certificates, and certificates into fresh ones.

Its own port, since gRPC cannot ask for a client certificate only from those who have one. TLS, tiny messages,
rate-limited. Methods take and give bytes, so that malformed requests get a reason like all others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import grpc
import grpc.aio

from roughfed.errors import RemoteProtocolError, RoughfedError, StorageError, TooLarge
from roughfed.rate_limit import Rate, RateLimit, address_of
from roughfed.server.members.authority import Authority
from roughfed.server.transport.connections import MOST_ENROLLING
from roughfed.server.transport.interceptors import refuse
from roughfed.server.transport.ports import open_port
from roughfed.transport.options import HANDSHAKE_MS, at_most
from roughfed.wire import enrolment as wire
from roughfed.wire.member_list import decode_list_request

MAX_REQUEST_BYTES = 16 * 1024
REQUEST_S = 5.0
"""A call whose message has not come by then is ended: nobody keeps calls open by saying nothing."""

AT_ONCE = 16
"""Requests that are worked on; the others wait for their turn."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", 2),  # a client makes one call after the other
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ("grpc.max_connection_age_ms", 15_000),
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
        on_peer: told from where (as gRPC names a peer) a whole request came.
        on_result: called with the method's kind ("authority", "enroll", "renew", "members") and "ok" or the reason.
        now: the time, aware.
        turns: how many requests are worked on at once.
    """

    authority: Authority
    federation_address: str
    limit: RateLimit
    on_result: OnResult = _ignore
    on_peer: Callable[[str], None] = lambda _: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server serves."""
        methods = {
            "GetAuthority": self._method("authority", self.get_authority),
            "Enroll": self._method("enroll", self.enroll),
            "Renew": self._method("renew", self.renew),
            "GetMembers": self._method("members", self.get_members),
        }
        return grpc.method_handlers_generic_handler(wire.SERVICE, methods)

    def renewal(self) -> grpc.GenericRpcHandler:
        """The one that members use again and again, for the federation port: strangers cannot close that."""
        return grpc.method_handlers_generic_handler(wire.SERVICE, {"Renew": self._method("renew", self.renew)})

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

    def _reply(self, credentials: wire.IssuedCredentials) -> bytes:
        return wire.encode_credentials(replace(credentials, federation_address=self.federation_address))

    def _method(self, kind: str, operation: Callable[[bytes], bytes]) -> grpc.RpcMethodHandler[bytes, bytes]:
        """A call with one message, which gRPC would let a peer put off for ever: so it is read here, as a stream is."""

        async def call(requests: AsyncIterator[bytes], context: Context) -> bytes:
            status, text, reply = "", "", b""
            try:
                request = await _only(requests)  # first: who says nothing uses up nobody's turn
                self.on_peer(context.peer())
                if not self.limit.allow(address_of(context.peer())):
                    raise TooLarge("too many requests; try again in a minute", reason="rate")
                async with self.turns:
                    # Signing and the disk would hold up the event loop.
                    reply, result = await asyncio.to_thread(operation, request), "ok"
            except StorageError as error:
                log.error("enrolment: %s failed: %s", kind, str(error))  # paths of this machine stay on it
                status, text, result = "UNAVAILABLE", "the server's disk refused", error.reason
            except RoughfedError as error:
                status, text, result = error.status, str(error), error.reason
            except Exception:
                log.exception("enrolment: %s failed", kind)
                status, text, result = "INTERNAL", "internal error", "internal"
            self.on_result(kind, result)
            if status:
                refuse(context, status, text, result)
            return reply

        return grpc.stream_unary_rpc_method_handler(call)


async def _only(requests: AsyncIterator[bytes]) -> bytes:
    try:
        async with asyncio.timeout(REQUEST_S):
            return await anext(requests)
    except TimeoutError:
        raise RemoteProtocolError(f"no request within {REQUEST_S:.0f} s", reason="stalled") from None
    except StopAsyncIteration:
        raise RemoteProtocolError("a call without a request", reason="truncated") from None


async def serve(
    service: EnrolmentService, address: str, *, credentials: grpc.ServerCredentials, most: int = MOST_ENROLLING
) -> tuple[grpc.aio.Server, int]:
    """Start the enrolment port.

    Args:
        service: what to serve.
        address: host:port to listen on; port 0 picks a free one.
        credentials: TLS with a server certificate of the authority; dynamic ones rotate by themselves.
        most: connections that it takes at once.

    Returns:
        the running server, which the caller stops, and the port it listens on.

    Raises:
        ConfigError: it cannot listen there.
    """
    server = grpc.aio.server(options=(*_OPTIONS, *at_most(most)))
    server.add_generic_rpc_handlers((service.handler(),))
    return server, await open_port(server, address, credentials, key="server.enrol_port")
