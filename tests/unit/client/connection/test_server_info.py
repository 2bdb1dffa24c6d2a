"""client/connection/server_info.py against real gRPC servers: what is told, by whom, how odd answers are taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import pytest

from roughfed.client.connection.server_info import ServerInfo, fetch_server_info
from roughfed.client.members.credential_files import Credentials, load
from roughfed.crypto import certificates
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.doctor.checks import clock
from roughfed.deploy.doctor.finding import CheckState
from roughfed.errors import IdentityError, RemoteProtocolError, RoughfedError, Unreachable
from roughfed.server.members.authority import Authority
from roughfed.transport.names import PROTOCOL_KEY, REASON_KEY, SERVICE, SOFTWARE_KEY, TIME_KEY
from tests.unit.clock import present
from tests.unit.deploy.doctor.doctor_sites import client_folder

Told = Mapping[str, str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Credentials]:
    folder = tmp_path_factory.mktemp("member")
    authority = Authority.create(folder / "ca", "test", now=present())
    return authority, load(client_folder(folder / "c0", authority) / "state" / "papers")


def greeted(
    home: tuple[Authority, Credentials],
    told: Told,
    *,
    refuse: tuple[grpc.StatusCode, str] | None = None,
    method: str = "UpdateStatus",
) -> ServerInfo:
    """What comes of greeting a server that answers so."""

    async def answer(_: bytes, context: Any) -> bytes:
        if refuse is not None:
            await context.abort(refuse[0], "no", ((REASON_KEY, refuse[1]),))
        context.set_trailing_metadata(tuple(told.items()))
        return b""

    async def play() -> ServerInfo:
        server = grpc.aio.server()
        handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_secure_port("127.0.0.1:0", credentials(home[0]))
        await server.start()
        try:
            return await fetch_server_info(f"127.0.0.1:{port}", home[1], timeout_s=5.0)
        finally:
            await server.stop(None)

    return asyncio.run(play())


def credentials(authority: Authority) -> grpc.ServerCredentials:
    key, identity = certificates.new_tls_key(), IdentityKey.generate()
    issued = authority.issue_server(
        f"server-{time.monotonic_ns()}", certificates.new_request(key), identity.public_key, now=present()
    )
    return grpc.ssl_server_credentials([(key, issued.certificate)], authority.certificate, True)


def test_a_server_tells_its_version_protocol_and_clock(home: tuple[Authority, Credentials]) -> None:
    told = {SOFTWARE_KEY: "0.9", PROTOCOL_KEY: "2-5", TIME_KEY: f"{time.time() + 42:.6f}"}
    greeting = greeted(home, told)
    assert (greeting.software, greeting.oldest, greeting.protocol) == ("0.9", 2, 5)
    assert greeting.ahead_s == pytest.approx(42, abs=5)  # the test itself takes its time
    assert 0 < greeting.round_trip_s < 5
    found = clock.skew(greeting.ahead_s or 0.0, greeting.round_trip_s)
    assert (found.state, "behind the server's" in found.sentence) == (CheckState.WARNING, True)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {SOFTWARE_KEY: "0.9", PROTOCOL_KEY: "new", TIME_KEY: "nan"},
        {SOFTWARE_KEY: "x" * 4000, PROTOCOL_KEY: "1-2-3", TIME_KEY: "inf"},
        {PROTOCOL_KEY: "9" * 4000, TIME_KEY: "yesterday"},
    ],
)
def test_what_is_odd_is_not_believed(home: tuple[Authority, Credentials], told: Told) -> None:
    greeting = greeted(home, told)
    assert (greeting.oldest, greeting.protocol, greeting.ahead_s) == (0, 0, None)
    assert greeting.software == told.get(SOFTWARE_KEY, "")[:32]


def test_an_older_server_refuses_and_is_a_server_all_the_same(home: tuple[Authority, Credentials]) -> None:
    greeting = greeted(home, {}, refuse=(grpc.StatusCode.FAILED_PRECONDITION, "stale"))
    assert (greeting.software, greeting.protocol, greeting.ahead_s) == ("", 0, None)


@pytest.mark.parametrize(
    ("code", "word", "kind"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "revoked", IdentityError),
        (grpc.StatusCode.UNAVAILABLE, "", Unreachable),
        (grpc.StatusCode.INVALID_ARGUMENT, "schema", RemoteProtocolError),
    ],
)
def test_who_is_turned_away_hears_why(
    home: tuple[Authority, Credentials], code: grpc.StatusCode, word: str, kind: type[RoughfedError]
) -> None:
    with pytest.raises(kind) as caught:
        greeted(home, {}, refuse=(code, word))
    assert not word or caught.value.reason == word


def test_another_service_of_the_federation_is_no_federation_port(home: tuple[Authority, Credentials]) -> None:
    with pytest.raises(RemoteProtocolError, match="no federation port") as caught:
        greeted(home, {}, method="Renew")
    assert caught.value.reason == "no-federation"


def test_nobody_there(home: tuple[Authority, Credentials]) -> None:
    with pytest.raises(Unreachable):
        asyncio.run(fetch_server_info("127.0.0.1:1", home[1], timeout_s=1.0))
