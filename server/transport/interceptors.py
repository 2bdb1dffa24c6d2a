"""The servicer boundary: who is calling, what went wrong, how long it took. Once, for every method.

gRPC knows the caller's certificate only inside the handler, so the interceptor wraps the handlers: the certificate's
SAN names the client, the revoked are refused, and every error of `roughfed.errors` becomes a gRPC status with its
`roughfed-reason`. What a handler then reads from `CALLER` cannot be another client's name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from roughfed.crypto.names import subject_of
from roughfed.errors import IdentityError, RoughfedError, StorageError, TooLarge
from roughfed.server.members.sessions import CUT_S
from roughfed.server.members.strikes import STRIKES, Strikes
from roughfed.server.metrics import ServerMetrics
from roughfed.server.trace.recent import RecentEvents
from roughfed.transport.names import PASSING, REASON_KEY, SERVICE

log = logging.getLogger(__name__)

CALLER: ContextVar[str] = ContextVar("caller")
"""Name of the client whose call is being handled, from its certificate."""


MAX_CALLS = 16
"""Calls that one client may have open: its session and a few transfers."""


class Boundary(grpc.aio.ServerInterceptor):
    """Binds a call to the client in its certificate and translates errors.

    Attributes:
        recent: statuses of the calls that ended in the last minutes.
    """

    def __init__(
        self,
        federation: str,
        admit: Callable[[str, bytes], Awaitable[None]],
        metrics: ServerMetrics,
        *,
        strikes: Strikes | None = None,
        on_strikes: Callable[[str], None] = lambda _: None,
        on_call: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        """Every call of a federation goes through one of these.

        Args:
            federation: its id.
            admit: `admit(name, certificate)` raises IdentityError for a client that must not call (revoked, replaced).
            metrics: told every call.
            strikes: whom to cut for what was refused; None: nobody.
            on_strikes: told who is cut from now on.
            on_call: told from where (as gRPC names a peer) a call of which client comes.
        """
        self._federation, self._admit, self._metrics = federation, admit, metrics
        self._strikes, self._on_strikes = strikes or Strikes(0), on_strikes
        self._on_call = on_call
        self._calls: dict[str, dict[object, asyncio.Task[Any] | None]] = {}
        self.recent = RecentEvents[str]()

    def cut(self, client: str) -> None:
        """End every call of a client, also those that wait for it to read; its session may still say why."""
        loop = asyncio.get_running_loop()
        for task in self._calls.get(client, {}).values():
            if task is not None:
                loop.call_later(CUT_S, task.cancel)

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of the method; other services (grpc.health.v1) ask for the certificate and no more."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(f"/{SERVICE}/"):
            return handler
        method = handler_call_details.method.rsplit("/", 1)[-1]
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

            async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
                async with self._call(method, context):
                    with self._running(await self._caller(context), context):
                        async for message in inner(request, context):
                            yield message

            wrap = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return wrap(stream)
        single = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            async with self._call(method, context):
                with self._running(await self._caller(context), context):
                    return await single(request, context)
            return b""  # refused: only the status is sent

        wrap = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return wrap(unary)

    @asynccontextmanager
    async def _call(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncGenerator[None]:
        """Around one call; what goes wrong becomes its status, and ends here."""
        began, code = time.monotonic(), "OK"
        self._metrics.rpc_started(method)
        try:
            yield
        except RoughfedError as error:
            code = error.status
            self._note(method, error)
            refuse(context, code, _public(error), error.reason)
        except (asyncio.CancelledError, GeneratorExit):
            code = "CANCELLED"
            raise
        except Exception:  # the boundary: a bug here must not show its trace to a peer
            code = "INTERNAL"
            log.exception("a handler of %s failed", method)
            refuse(context, code, "internal error; see the server's log")
        finally:
            self._metrics.rpc_handled(method, code, time.monotonic() - began)
            self.recent.note(code)

    @contextmanager
    def _running(self, client: str, context: grpc.aio.ServicerContext[Any, Any]) -> Generator[None]:
        """Count a call until gRPC is done with it: what a peer does not read outlives the handler."""
        task, calls = asyncio.current_task(), self._calls.setdefault(client, {})
        if len(calls) >= MAX_CALLS:
            raise TooLarge(f"{len(calls)} calls of {client} are open, at most {MAX_CALLS} allowed", reason="calls")
        calls[context] = task
        context.add_done_callback(lambda _: self._done(client, context))  # pyright: ignore[reportArgumentType]
        yield

    def _done(self, client: str, context: object) -> None:
        calls = self._calls.get(client, {})
        calls.pop(context, None)
        if not calls:
            self._calls.pop(client, None)

    async def _caller(self, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        auth = context.auth_context()
        subject = subject_of(auth.get("peer_uri", []) or auth.get("x509_subject_alternative_name", []))
        if subject.federation != self._federation or subject.role != "client":
            raise IdentityError(f"{subject.uri} is not a client of {self._federation}", reason="foreign")
        self._on_call(context.peer(), subject.name)
        self._strikes.check(subject.name)
        await self._admit(subject.name, next(iter(auth["x509_pem_cert"])))
        CALLER.set(subject.name)
        return subject.name

    def _note(self, method: str, error: RoughfedError) -> None:
        if error.reason == STRIKES:
            self._metrics.refused(error.reason)
            return  # one line in the log is enough
        client = CALLER.get("")
        if method == "PutUpdate":
            if error.reason in PASSING:
                self._metrics.broke_off(error.reason)
            else:
                late = error.reason in ("late", "stale")
                self._metrics.update("late" if late else "rejected", error.reason, client=client)
        else:
            self._metrics.refused(error.reason)
        log.warning("%s of %s refused: %s", method, client or "a stranger", str(error), extra={"client": client})
        if client and self._strikes.note(client, error):
            log.error("%s sent too many calls that were refused: it is cut for a minute", client)
            self._on_strikes(client)


def refuse(context: grpc.aio.ServicerContext[Any, Any], status: str, text: str, reason: str = "") -> None:
    """Give a call the status with which it ends as soon as its handler returns, whatever that gives.

    Not `context.abort`: the error that it raises would hold on to the one that is being handled, to its frames and to
    all that they have read, in a cycle that a server without much garbage keeps for ever.
    """
    context.set_code(getattr(grpc.StatusCode, status))
    context.set_details(text)
    context.set_trailing_metadata(((REASON_KEY, reason),) if reason else ())


def _public(error: RoughfedError) -> str:
    """What the peer hears of an error; the paths of this machine stay in its log."""
    return "the server's disk refused" if isinstance(error, StorageError) else str(error)
