"""How errors reach people: two lines (`error:`, `hint:`), one JSON object, or with `--debug` the whole trace."""

from __future__ import annotations

import os
import sqlite3
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.text import Text

from roughfed.deploy.cli.command import print_json
from roughfed.errors import (
    ConfigError,
    IdentityError,
    RemoteProtocolError,
    RoughfedError,
    StorageError,
    TrainerError,
    Unreachable,
)

FAULT_HINT = "this is a fault of roughfed: run it again with --debug and report what it prints"

CHECK_OF: tuple[tuple[type[RoughfedError], str], ...] = (
    (StorageError, "disk"),
    (TrainerError, "data"),
    (Unreachable, "handshake"),
    (RemoteProtocolError, "version"),
)
"""The doctor's check that looks into an error which brings no cure of its own."""

OF_PAPERS = frozenset({"expired", "not-yet-valid", "issuer", "wrong-ca", "replaced", "roster", "tls", "key", "clock"})
"""Reasons of an IdentityError that lie in the own papers or in the way to the server."""


def describe(error: BaseException) -> dict[str, object]:
    """An error as data: always reason, message, cause, file, key and cure, some of them empty."""
    message = str(error) or type(error).__name__
    known = isinstance(error, RoughfedError)
    data: dict[str, object] = {
        "reason": error.reason if known else "fault",
        "message": message,
        "file": "",
        "key": "",
        "cause": message,
        "cure": "" if known else FAULT_HINT,
    }
    if isinstance(error, ConfigError):
        data |= {"file": error.file, "key": error.key, "cause": error.cause}
    data["cure"] = data["cure"] or getattr(error, "cure", "") or asks_the_doctor(error)
    if problems := getattr(error, "problems", ()):
        data["problems"] = [{"file": str(p.origin), "key": p.key, "cause": p.cause, "cure": p.cure} for p in problems]
    return data


def asks_the_doctor(error: BaseException) -> str:
    """What helps where an error says nothing of it: the check that looks into it; empty where there is none."""
    check = next((check for kind, check in CHECK_OF if isinstance(error, kind)), "")
    if isinstance(error, IdentityError) and error.reason in OF_PAPERS:
        check = "certificate"
    return f"roughfed doctor --only {check} says more" if check else ""


def ours(error: OSError | sqlite3.Error) -> StorageError:
    """What the operating system or SQLite refused, as an error of ours."""
    words = str(error)
    if isinstance(error, OSError) and error.strerror:
        words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    refused = StorageError(words)
    refused.__cause__ = error
    return refused


def tell(error: BaseException, *, as_json: bool, debug: bool) -> None:
    """Print an error: for people on stderr, with `--json` on stdout too."""
    data = describe(error)
    if debug:
        traceback.print_exception(error)
        if isinstance(error, TrainerError) and error.detail:
            sys.stderr.write(error.detail.rstrip() + "\n")
    tell_person(data)
    if as_json:
        print_json({"error": data})


def tell_person(data: Mapping[str, object]) -> None:
    """The two lines."""
    console = Console(stderr=True, highlight=False)
    for label, style, text in (("error", "bold red", data["message"]), ("hint", "bold cyan", data["cure"])):
        if text:
            console.print(Text.assemble((f"{label}: ", style), str(text)), soft_wrap=True)


def install(*, as_json: bool, debug: bool) -> None:
    """Let an exception that nobody expected end in two lines as well, and in a trace only with `--debug`."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        del kind, trace
        data = describe(error)
        data["message"] = f"{type(error).__name__}: {error}"
        if debug:
            traceback.print_exception(error)
        tell_person(data)
        if as_json:
            print_json({"error": data})

    sys.excepthook = hook


def silence_stdout() -> None:
    """Whoever read our output is gone (`roughfed plan | head`): what is still buffered must not complain at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
