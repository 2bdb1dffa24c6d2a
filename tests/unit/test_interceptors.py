"""The servicer boundary: what a peer hears of an error, and what stays in the log."""

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio
import pytest

from roughfed.crypto.names import Subject
from roughfed.errors import RemoteProtocolError, RoughfedError, StorageError
from roughfed.server.interceptors import Boundary
from roughfed.server.metrics import ServerMetrics
from roughfed.transport.names import REASON_KEY


class Aborted(Exception):
    """As gRPC ends a handler."""


class Context:
    """A call by client alpha; keeps how it was aborted."""

    aborted: tuple[grpc.StatusCode, str, str]

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"peer_uri": [Subject("lab", "client", "alpha").uri.encode()], "x509_pem_cert": [b""]}

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> None:
        ((key, reason),) = trailing_metadata
        assert key == REASON_KEY
        self.aborted = (code, details, reason)
        raise Aborted


def told(error: RoughfedError) -> tuple[grpc.StatusCode, str, str]:
    """What client alpha hears when its upload ends so."""

    async def admit(client: str, certificate: bytes) -> None:
        assert client == "alpha"

    async def call() -> tuple[grpc.StatusCode, str, str]:
        context: Any = Context()
        with pytest.raises(Aborted):
            async with Boundary("lab", admit, ServerMetrics())._call("PutUpdate", context):
                raise error
        return context.aborted

    return asyncio.run(call())


def test_a_refusal_reaches_the_peer_in_its_own_words() -> None:
    code, details, reason = told(RemoteProtocolError("chunk at byte 8, want 4", reason="offset"))
    assert (code, details, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "chunk at byte 8, want 4", "offset")


def test_paths_of_the_server_stay_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        code, details, reason = told(StorageError("cannot write /srv/secret/journal.db: No space left on device"))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "storage")
    assert "/srv" not in details
    assert "/srv/secret/journal.db" in caplog.text
