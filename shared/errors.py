"""Every error raised on purpose, in one tree.

RoughfedError
├── ConfigError                 a setting is wrong; stop at start-up
│   └── NotBuiltYet                 a setting that a later version brings
├── IdentityError               who is this? refused for ever, never retried
├── Unreachable                 nobody answers, or the stream broke; later it may work
├── StorageError                the disk refused (full, read-only, corrupt)
├── TrainerError                local training failed (user code, CUDA, out of memory, killed)
├── ProtocolError               a rule of the protocol was broken
│   ├── LocalProtocolError          by this process: a bug here
│   └── RemoteProtocolError         by the peer: its message is refused and never retried
│       ├── StaleRound                  the round is over or not open
│       ├── Conflict                    other bytes under an id that is taken
│       ├── TooLarge                    more than was declared or allowed
│       ├── ModeRefused                 the server asks to see more of a client than that one shows
│       └── VersionError                the peer speaks no version of the protocol that is spoken here
└── RoundError                  this round cannot finish; the next one may
    └── TooFewClients               fewer contributions than the rule needs

`reason` is a short kebab-case word: a metric label and the word the peer gets. `status` is the gRPC status that the
adapters translate to; nothing else knows about gRPC.
"""

from __future__ import annotations

from roughfed.mode import MODES, UPDATES_SHOWN


class RoughfedError(Exception):
    """Base of every error that roughfed raises on purpose."""

    reason = "error"
    status = "INTERNAL"
    exit_code = 1


class ConfigError(RoughfedError):
    """A setting is wrong. Says the file, the key, the cause and the cure."""

    reason = "config"
    status = "FAILED_PRECONDITION"
    exit_code = 2

    def __init__(self, cause: str, *, file: str = "", key: str = "", cure: str = "") -> None:
        """Keep the four parts as values, so that `--json` can print them apart."""
        self.file, self.key, self.cause, self.cure = file, key, cause, cure
        where = ": ".join(part for part in (file, key) if part)
        super().__init__(f"{where}: {cause}" if where else cause)


class NotBuiltYet(ConfigError):
    """A setting that is planned and that this version refuses rather than ignores."""

    reason = "not-built-yet"


class IdentityError(RoughfedError):
    """The peer is not who it must be: certificate, token, signature or name."""

    reason = "identity"
    status = "PERMISSION_DENIED"
    exit_code = 3

    def __init__(self, message: str, *, reason: str = "identity") -> None:
        """`reason` tells forged, expired, revoked and used-twice apart."""
        self.reason = reason
        super().__init__(message)


class Unreachable(RoughfedError):
    """Nobody answers, or the stream broke: trying again makes sense."""

    reason = "unreachable"
    status = "UNAVAILABLE"
    exit_code = 6

    def __init__(self, message: str, *, cure: str = "") -> None:
        """`cure` is what a person could check meanwhile."""
        self.cure = cure
        super().__init__(message)


class StorageError(RoughfedError):
    """The disk refused."""

    reason = "storage"
    status = "RESOURCE_EXHAUSTED"
    exit_code = 4


class TrainerError(RoughfedError):
    """The trainer process failed; the agent reports it, restarts it and goes on."""

    reason = "trainer"
    exit_code = 5

    def __init__(self, message: str, *, reason: str = "trainer", detail: str = "") -> None:
        """`detail` is the trace of the user's code, for `--debug` and the log."""
        self.reason, self.detail = reason, detail
        super().__init__(message)


class ProtocolError(RoughfedError):
    """A rule of the protocol was broken."""

    reason = "protocol"
    status = "INVALID_ARGUMENT"


class LocalProtocolError(ProtocolError):
    """This process broke the protocol: a bug here."""

    status = "INTERNAL"


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; its message is refused and never retried."""

    def __init__(self, message: str, *, reason: str = "protocol") -> None:
        """`reason` becomes the label of the counter of refusals."""
        self.reason = reason
        super().__init__(message)


class StaleRound(RemoteProtocolError):
    """The message belongs to a round that is over, or that never was."""

    status = "FAILED_PRECONDITION"

    def __init__(self, message: str, *, reason: str = "stale") -> None:
        """A late update is `late`, another round `stale`."""
        super().__init__(message, reason=reason)


class Conflict(RemoteProtocolError):
    """Other bytes under an id that is already taken."""

    status = "ALREADY_EXISTS"

    def __init__(self, message: str, *, reason: str = "conflict") -> None:
        """Counted, since an honest client never does it."""
        super().__init__(message, reason=reason)


class TooLarge(RemoteProtocolError):
    """More bytes than were declared or than the manifest allows."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, reason: str = "size") -> None:
        """Nothing is allocated before this check."""
        super().__init__(message, reason=reason)


class ModeRefused(RemoteProtocolError):
    """The server asks to see more of this client than its owner agreed to; only the owner can change that."""

    exit_code = 2

    def __init__(self, *, asked: str, held: str, run: str) -> None:
        """Keep the modes as values: what is asked for, and the most that is shown."""
        self.asked, self.held, self.run = asked, held, run
        super().__init__(
            f'run {run} has server_sees = "{asked}", and the most that this client shows is "{held}": nothing is sent',
            reason="mode",
        )

    @property
    def cure(self) -> str:
        """What the owner types who wants it."""
        if self.asked not in MODES:
            return "install the server's version"
        shown = f" {UPDATES_SHOWN}" if self.asked == MODES[-1] else ""
        command = f"roughfed join --accept {self.asked}"
        return f"ask whoever runs the server why; if you agree to it, type here: {command}.{shown}"


class VersionError(RemoteProtocolError):
    """The peer speaks no version of the protocol that is spoken here: one of the two must be upgraded."""

    exit_code = 9

    def __init__(self, message: str, *, cure: str = "") -> None:
        """`cure` says which of the two, where that is known."""
        self.cure = cure
        super().__init__(message, reason="version")


class RoundError(RoughfedError):
    """This round cannot finish; the next one may."""

    reason = "round"
    status = "ABORTED"


class TooFewClients(RoundError):
    """Fewer contributions than the rule needs."""

    reason = "too-few-clients"

    def __init__(self, *, needed: int, got: int) -> None:
        """Both numbers are kept as values."""
        self.needed, self.got = needed, got
        super().__init__(f"{got} usable contributions, {needed} needed")
