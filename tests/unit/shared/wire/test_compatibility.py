"""Who works with whom: the protocol as it is frozen, versions at hello, and what neither side knows is ignored."""

import asyncio
import copy
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor

from roughfed import compatibility
from roughfed.client.app import Agent
from roughfed.client.connection import rpc
from roughfed.client.policy import Rules
from roughfed.client.rules import checks
from roughfed.client.rules.checks import check_welcome
from roughfed.client.session import Session
from roughfed.client.setup import Setup
from roughfed.client.storage.store import ClientStore
from roughfed.compatibility import spoken
from roughfed.config.client import ClientConfig, PolicySettings
from roughfed.crypto import identity
from roughfed.deploy.cli.command import EXIT_CODES
from roughfed.deploy.cli.faults import describe
from roughfed.errors import IdentityError, VersionError
from roughfed.messages import OLDEST, PROTOCOL, Finished, Hello, Reconnect, RoundClosed, Welcome
from roughfed.pb.v1 import federation_pb2, secagg_pb2, tensor_pb2
from roughfed.secagg import messages as stages
from roughfed.server.transport.rpc import FederationService
from roughfed.transport import names
from roughfed.types import Spec, TensorSpec
from roughfed.wire import cluster_choice, session, updates

VECTORS = Path(__file__).parents[3] / "vectors" / "protocol.json"
FILES: list[FileDescriptor] = [federation_pb2.DESCRIPTOR, secagg_pb2.DESCRIPTOR, tensor_pb2.DESCRIPTOR]
TYPES = {value: name[5:].lower() for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
SPEC = Spec((TensorSpec("w", (2,)),))


def domain_names() -> dict[str, str]:
    """What every signature is for; another one of these, and nobody's signature is good any more."""
    found: dict[str, str] = {}
    for module in (session, updates, cluster_choice, stages, identity):
        found |= {key: value.decode() for key, value in vars(module).items() if key.endswith("_DOMAIN")}
    return dict(sorted(found.items()))


def described() -> dict[str, Any]:
    """The protocol as the generated code has it: each field by its number, each call, each domain of signatures."""
    messages: dict[str, dict[str, str]] = {}
    calls: dict[str, str] = {}
    for file in FILES:
        for name, message in file.message_types_by_name.items():
            messages[name] = {str(f.number): field(f) for f in sorted(message.fields, key=lambda f: f.number)}
        for name, service in file.services_by_name.items():
            for m in service.methods:
                calls[f"{name}.{m.name}"] = f"{m.input_type.name} -> {m.output_type.name}"
    return {"protocol": PROTOCOL, "messages": messages, "calls": calls, "domains": domain_names()}


def field(f: FieldDescriptor) -> str:
    of = f.message_type.name if f.message_type is not None else TYPES[f.type]
    within = f.containing_oneof.name if f.containing_oneof is not None else ""
    return " ".join(filter(None, (f.name, "repeated" if f.is_repeated else "", of, within and f"in {within}")))


def broken(frozen: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What the same version of the protocol must not change; what is only added is fine."""
    found: list[str] = []
    for part in ("calls", "domains"):
        found += [f"{part}: {key}" for key, value in frozen[part].items() if now[part].get(key) != value]
    for message, fields in frozen["messages"].items():
        there = now["messages"].get(message, {})
        found += [f"{message}.{number}" for number, what in fields.items() if there.get(number) != what]
    return found


FROZEN: dict[str, Any] = json.loads(VECTORS.read_text()) if VECTORS.exists() else described()


def test_the_protocol_of_this_number_is_what_it_always_was() -> None:
    """Red: give the next version another number (docs/compatibility.md), or take the change back."""
    assert FROZEN["protocol"] == PROTOCOL
    assert broken(FROZEN, described()) == []


CHANGES = {
    "a field has another number": lambda p: p["messages"]["Hello"].update({"30": p["messages"]["Hello"].pop("4")}),
    "a field has another type": lambda p: p["messages"]["Receipt"].update({"1": "run bytes"}),
    "a field is gone": lambda p: p["messages"]["RoundHeader"].pop("1"),
    "a field has another meaning and name": lambda p: p["messages"]["Job"].update({"3": "salt uint64"}),
    "a call is gone": lambda p: p["calls"].pop("Federation.UpdateStatus"),
    "a signature is over something else": lambda p: p["domains"].update(HEADER_DOMAIN="roughfed header v2\0"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_others_would_not_understand_is_found(change: str) -> None:
    now = copy.deepcopy(FROZEN)
    CHANGES[change](now)
    assert len(broken(FROZEN, now)) == 1


def test_what_is_only_added_needs_no_other_number() -> None:
    now = copy.deepcopy(FROZEN)
    now["messages"]["Hello"]["99"] = "mood string"
    now["messages"]["Horoscope"] = {"1": "sign string"}
    assert broken(FROZEN, now) == []


UNKNOWN = bytes([0xFA, 0x3F, 5]) + b"later"
"""Field 1023, bytes: nobody has it yet."""


@pytest.mark.parametrize(
    "message",
    [
        Welcome("9.9", 1, "run-1", SPEC, b"", "updates", "classification", 3),
        RoundClosed(3, "committed", 3, bytes(32), "accepted"),
        Reconnect(1.0, "the server is restarting"),
        Finished("rounds", 3, bytes(32)),
    ],
    ids=lambda m: type(m).__name__,
)
def test_fields_of_a_newer_server_are_ignored(message: Any) -> None:
    data = session.encode_server_message(message)
    outer = federation_pb2.ServerMessage.FromString(data)
    inner = getattr(outer, cast(str, outer.WhichOneof("body")))
    inner.MergeFromString(UNKNOWN)
    assert len(outer.SerializeToString()) > len(data)
    assert session.decode_server_message(outer.SerializeToString()) == message


def test_fields_of_a_newer_client_are_ignored() -> None:
    hello = Hello("9.9", 2, b"", b"", ("identity",), "cpu")
    outer = federation_pb2.ClientMessage.FromString(session.encode_client_message(hello))
    outer.hello.MergeFromString(UNKNOWN)
    assert session.decode_client_message(outer.SerializeToString()) == hello


@pytest.mark.parametrize(
    ("oldest", "newest", "theirs", "wanted"),
    [(1, 1, 1, 1), (1, 1, 7, 1), (2, 4, 3, 3), (2, 4, 2, 2), (2, 4, 9, 4), (2, 4, 1, 0), (1, 1, 0, 0)],
)
def test_the_lower_one_of_both_is_spoken_or_none(
    monkeypatch: pytest.MonkeyPatch, oldest: int, newest: int, theirs: int, wanted: int
) -> None:
    monkeypatch.setattr(compatibility, "OLDEST", oldest)
    monkeypatch.setattr(compatibility, "PROTOCOL", newest)
    if wanted:
        assert spoken(theirs, who="client", software="0.0.9") == wanted
        return
    with pytest.raises(VersionError) as caught:
        spoken(theirs, who="client", software="0.0.9")
    words = str(caught.value)
    assert f"protocol {theirs}" in words
    assert "roughfed 0.0.9" in words
    assert re.search(rf"this server \(roughfed \d\S+\) speaks {oldest}( to {newest})?:", words)
    assert "upgrade the client" in words


def test_a_server_refuses_a_client_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    identity, config = SimpleNamespace(external=""), SimpleNamespace(server=SimpleNamespace(transfers=1))
    service = FederationService(cast(Any, SimpleNamespace(identity=identity, config=config)), cast(Any, None), b"")
    with pytest.raises(VersionError, match=r"the client .roughfed 0\.0\.1. speaks protocol 1"):
        service._greet(Hello("0.0.1", OLDEST - 1, b"", b"", (), "cpu"))

    def looked_at(*_: object, **__: object) -> None:
        raise IdentityError("its papers were looked at")

    monkeypatch.setattr("roughfed.server.transport.rpc.open_member", looked_at)
    with pytest.raises(IdentityError, match="looked at"):  # a newer one may speak what is spoken here
        service._greet(Hello("9.9", PROTOCOL + 1, b"", b"", (), "cpu"))


def test_a_client_refuses_a_server_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    welcome = Welcome("0.0.1", OLDEST - 1, "run-1", SPEC, b"", "updates", "classification", 3)
    allowed = Rules(PolicySettings(server_sees="updates", max_model_bytes=1 << 20))
    with pytest.raises(VersionError, match=r"the server .roughfed 0\.0\.1. speaks protocol 1, this client"):
        check_welcome(welcome, allowed)
    monkeypatch.setattr(checks, "spoken", lambda *_, **__: 1)
    check_welcome(welcome, allowed)


def test_who_is_refused_for_its_version_stops_at_once_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = rpc.meaning("INVALID_ARGUMENT", "the client (roughfed 0.1) speaks protocol 1, this server 2", "version")
    assert isinstance(refused, VersionError)
    assert EXIT_CODES[refused.exit_code].startswith("versions:")
    assert "upgrade roughfed here" in str(describe(refused)["cure"])
    tries: list[int] = []

    async def once(_: Session) -> str:
        tries.append(1)
        raise refused

    monkeypatch.setattr(Session, "run", once)
    store = ClientStore(tmp_path)
    about = SimpleNamespace(settings={}, device="cpu")
    agent = Agent(Setup(ClientConfig(), tmp_path, tmp_path, cast(Any, None)), store, cast(Any, about))

    async def scenario() -> None:
        with pytest.raises(VersionError):
            await agent.run()
        await agent.close()

    asyncio.run(scenario())
    store.close()
    assert tries == [1]
    assert "version" not in names.PASSING


if __name__ == "__main__":  # python -m tests.unit.shared.wire.test_compatibility: freezes the protocol of a new number
    VECTORS.write_text(json.dumps(described(), indent=1) + "\n")
