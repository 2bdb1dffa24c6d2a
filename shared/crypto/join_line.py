"""The join line `HOST:PORT#TOKEN`: all that a newcomer needs, passed on by a person.

TOKEN is base64url without padding of a version byte, the mode (1 byte, from version 2 on), the single-use secret (32
bytes) and the SHA-256 of the CA certificate (32 bytes), so that nobody is trusted on first use. The mode is what the
server of this federation sees of a single client: who joins agrees to it, and to no more. No error and no repr ever
contains the secret.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field

from roughfed.errors import ConfigError
from roughfed.mode import MODES

VARIABLE = "ROUGHFED_JOIN"
SECRET_BYTES = 32
_BARE, _WITH_MODE = 1, 2
_TOKEN_CHARS = {_BARE: 87, _WITH_MODE: 88}  # version -> base64url of 65 and of 66 bytes
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
        server_sees: the federation's mode; empty in a line of version 1, which says none.
    """

    host: str
    port: int
    secret: bytes = field(repr=False)
    ca_fingerprint: bytes
    server_sees: str = ""

    def __post_init__(self) -> None:
        """Refuse at once what could never be parsed again.

        Raises:
            ConfigError: host, port, lengths or mode are wrong.
        """
        _check_address(self.host, self.port)
        if (sizes := (len(self.secret), len(self.ca_fingerprint))) != (SECRET_BYTES, 32):
            raise _wrong(f"secret and fingerprint have {sizes[0]} and {sizes[1]} bytes, want 32 and 32")
        if self.server_sees not in ("", *MODES):
            raise _wrong("the token names no mode that this roughfed knows: install the server's version")

    @property
    def address(self) -> str:
        """host:port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def reveal(self) -> str:
        """The line itself, secret included: for the operator's eyes, never for a log."""
        begin = [_WITH_MODE, MODES.index(self.server_sees) + 1] if self.server_sees else [_BARE]
        packed = bytes(begin) + self.secret + self.ca_fingerprint
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
    mode, packed = _unpack(token)
    return JoinLine(
        host=host[1:-1] if bracketed else host,
        port=int(port),
        secret=packed[:SECRET_BYTES],
        ca_fingerprint=packed[SECRET_BYTES:],
        server_sees=mode,
    )


def _unpack(token: str) -> tuple[str, bytes]:
    """The mode, and what follows it."""
    if not _ALPHABET.fullmatch(token):
        raise _wrong("the token holds a character outside A-Z a-z 0-9 - _")
    version = base64.urlsafe_b64decode(token[:4])[0] if len(token) >= 4 else _WITH_MODE
    if version not in _TOKEN_CHARS:
        known = " and ".join(map(str, _TOKEN_CHARS))
        raise _wrong(f"the token is of version {version}, this roughfed reads {known}: install the server's version")
    if len(token) != _TOKEN_CHARS[version]:
        raise _wrong(f"the token has {len(token)} characters, want {_TOKEN_CHARS[version]}: was the line cut?")
    padding = "=" * (-len(token) % 4)
    packed = base64.urlsafe_b64decode(token + padding)
    if base64.urlsafe_b64encode(packed).decode("ascii") != token + padding:
        raise _wrong("the token's last character was changed")
    if version == _BARE:
        return "", packed[1:]
    return (MODES[packed[1] - 1] if 0 < packed[1] <= len(MODES) else "?"), packed[2:]


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
