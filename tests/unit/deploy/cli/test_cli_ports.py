"""`roughfed server` says at once that a port is taken, and asks only for ports that it will open."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from roughfed.config.federation import FederationConfig
from roughfed.config.server import Server
from roughfed.deploy.cli.server import check_ports
from roughfed.errors import ConfigError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def config(**ports: Any) -> FederationConfig:
    free = {"host": "127.0.0.1", "port": 0, "enrol_port": 0, "http_port": 0}
    return FederationConfig(server=Server(**(free | ports)))


@pytest.mark.parametrize("key", ["port", "enrol_port", "http_port"])
def test_a_taken_port_is_named(taken: int, key: str) -> None:
    with pytest.raises(ConfigError, match=str(taken)) as caught:
        check_ports(config(**{key: taken}), ca=True)
    assert caught.value.key == f"server.{key}"


def test_a_port_that_is_not_served_may_be_taken(taken: int) -> None:
    check_ports(config(enrol_port=taken), ca=False)
    check_ports(config(http_port=taken, http=False), ca=True)
