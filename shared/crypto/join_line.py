"""The join line `HOST:PORT#TOKEN`: all that a newcomer needs, passed on by a person.

TOKEN is base64url without padding of a version byte, the single-use secret (32 bytes) and the SHA-256 of the CA
certificate (32 bytes), so that nobody is trusted on first use. No error and no repr ever contains the secret.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field

from roughfed.errors import ConfigError

VARIABLE = "ROUGHFED_JOIN"
SECRET_BYTES = 32
_VERSION = 1
_TOKEN_CHARS = 87  # base64url of 65 bytes
_ALPHABET = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class JoinLine:
    """Where to enrol, with what secret, and which CA to expect there.

    Attributes:
        host: a name, an IPv4 address or an IPv6 address without brackets.
        port: of the enrolment service.
        secret: single use, 32 bytes.
        ca_fingerprint: SHA-256 of the CA certificate's DER form, 32 bytes.
    """

    host: str
    port: int
    secret: bytes = field(repr=False)
    ca_fingerprint: bytes

    def __post_init__(self) -> None:
        """Refuse at once what could never be parsed again.

        Raises:
            ConfigError: host, port, or lengths are wrong.
        """
        _check_address(self.host, self.port)
        if (sizes := (len(self.secret), len(self.ca_fingerprint))) != (SECRET_BYTES, 32):
            raise _wrong(f"secret and fingerprint have {sizes[0]} and {sizes[1]} bytes, want 32 and 32")

    @property
    def address(self) -> str:
        """host:port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def reveal(self) -> str:
        """The line itself, secret included: for the operator's eyes, never for a log."""
        packed = bytes([_VERSION]) + self.secret + self.ca_fingerprint
        return f"{self.address}#{base64.urlsafe_b64encode(packed).rstrip(b'=').decode('ascii')}"

    def command(self) -> str:
        """What to run on the client. The secret is in the environment, where `ps` does not show it."""
        return f"{VARIABLE}='{self.reveal()}' roughfed join"


def parse(text: str) -> JoinLine:
    """Read a join line.

    Raises:
        ConfigError: it says what is wrong, without a character of the token.
    """
    address, mark, token = text.strip().strip("'\"").partition("#")
    if not mark:
        raise _wrong("no '#' between address and token")
    host, colon, port = address.rpartition(":")
    if not colon or not _PORT.fullmatch(port):
        raise _wrong("the part before '#' is not HOST:PORT")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed != (":" in host):
        raise _wrong("an IPv6 address must stand in brackets, as in [::1]:9444, and nothing else may")
    packed = _unpack(token)
    return JoinLine(
        host=host[1:-1] if bracketed else host,
        port=int(port),
        secret=packed[1 : 1 + SECRET_BYTES],
        ca_fingerprint=packed[1 + SECRET_BYTES :],
    )


def _unpack(token: str) -> bytes:
    if not _ALPHABET.fullmatch(token):
        raise _wrong("the token holds a character outside A-Z a-z 0-9 - _")
    if len(token) != _TOKEN_CHARS:
        raise _wrong(f"the token has {len(token)} characters, want {_TOKEN_CHARS}: was the line cut?")
    packed = base64.urlsafe_b64decode(token + "=")
    if base64.urlsafe_b64encode(packed).decode("ascii") != token + "=":
        raise _wrong("the token's last character was changed")
    if packed[0] != _VERSION:
        raise _wrong(
            f"the token is of version {packed[0]}, this roughfed reads {_VERSION}: install the server's version"
        )
    return packed


def _check_address(host: str, port: int) -> None:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise _wrong("the address in brackets is not an IPv6 address") from None
    elif not _HOST.fullmatch(host):
        raise _wrong("the host is neither a name nor an address")
    if not 0 < port < 65536:
        raise _wrong(f"port {port} is not between 1 and 65535")


def _wrong(cause: str) -> ConfigError:
    cure = f"set {VARIABLE} to the whole line that `roughfed invite NAME` printed, in quotes"
    return ConfigError(cause, key=VARIABLE, cure=cure)
