"""`roughfed backup`: the state directory as it is at this moment, in one file, while the server goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.py")


@dataclass(frozen=True, slots=True)
class BackupFlags:
    """Where to, and what of it."""

    out: Annotated[Path, typer.Option(metavar="FILE.tar", help="The file to write; only its owner may read it.")]
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Leave the private keys of CA and server out.")
    ] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "backup", flags=BackupFlags)(backup)


def backup(context: CommandContext, flags: BackupFlags) -> Answer:
    """Write a backup of the state directory and fed.toml.

    Also while the server runs, in the middle of a round: rounds go on meanwhile. `roughfed restore` makes a directory
    of it again. Whoever has the file has the federation's keys, unless they were left out.
    """
    from roughfed.deploy import archive
    from roughfed.server.backup.signer import key_of

    out, key = destination(context.folder, flags.out), key_of(context.folder / "state")
    began = time.monotonic()
    with held(context.folder) as moment, above(context.folder) as more:
        members, left_out = chosen(context.folder, moment["files"], more, keys=not flags.without_keys)
        about: dict[str, Any] = {**moment["about"], "left_out": left_out}
        with progress(context, "backup", sum(member.size for member in members)) as moved:
            size = archive.write(out, about, members, moved, key=key)
    say(context, about, out, size, left_out)
    signed = key.public_key.hex() if key is not None else ""
    say_key(context, signed)
    if more:
        context.say("with its membership in the federation above")
    known = {key: about[key] for key in ("run", "round", "open_round", "version", "schema", "software")}
    return Answer(
        {
            "out": str(out),
            "bytes": size,
            "files": len(members),
            "left_out": left_out,
            "edge": bool(more),
            "key": signed,
            "seconds": round(time.monotonic() - began, 3),
            **known,
        }
    )


def destination(folder: Path, out: Path) -> Path:
    """Where the backup goes.

    Raises:
        ConfigError: into the state directory itself, or into a folder that is none.
    """
    out = out.absolute()
    out = out.parent.resolve() / out.name
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"{out} is no file in a folder", key="--out", cure="name one in a folder that exists")
    if out.is_relative_to((folder / "state").resolve()):
        raise ConfigError("a backup in the state directory is lost with it", key="--out", cure="write it elsewhere")
    return out


@contextmanager
def held(folder: Path) -> Generator[Mapping[str, Any]]:
    """The state directory held still: by the server that runs on it, or because nobody does."""
    from roughfed.lock import only_one
    from roughfed.server.backup.snapshot import Moment, sweep
    from roughfed.transport import control_socket

    if control_socket.is_running(folder):
        with ExitStack() as stack:
            found: Mapping[str, Any] | None = None
            with suppress(control_socket.NotRunning):
                found = stack.enter_context(control_socket.moment(folder))
            if found is not None:
                yield found
                return
        control_socket.wait_until_gone(folder)  # it has ended just now
    state = folder / "state"
    if not state.is_dir():
        raise ConfigError("there is no state here", file=str(folder.absolute()), cure="name it with --dir")
    with only_one(state, "backup", cure="wait for it"):
        sweep(state)
        moment = Moment.pin(state)
        try:
            moment.copy()
            yield {"about": moment.about, "files": moment.files}
        finally:
            moment.discard()


@contextmanager
def above(folder: Path) -> Generator[Mapping[str, Path]]:
    """The files of an edge's membership in the federation above, by their names in the backup."""
    if not (folder / "upstream").is_dir():
        yield {}
        return
    from roughfed.deploy.edge import membership_backup

    with membership_backup.held(folder) as found:
        yield found


def chosen(
    folder: Path, files: Mapping[str, int], more: Mapping[str, Path], *, keys: bool
) -> tuple[list[Any], list[str]]:
    """The members of the backup, and the names of keys that are not among them.

    Args:
        folder: of the server.
        files: place in the state directory -> bytes.
        more: name in the backup -> the file, beside these.
        keys: whether private ones are members.
    """
    from roughfed.deploy import roster
    from roughfed.deploy.archive import SETTINGS, ArchiveMember
    from roughfed.server.backup.snapshot import FOLDER

    held_in = folder / "state" / FOLDER
    members = [ArchiveMember(f"state/{name}", held_in / name, size) for name, size in sorted(files.items())]
    beside = [(SETTINGS, folder / SETTINGS), *((path.name, path) for path in roster.files(folder))]
    beside += [(f"app/{path.name}", path) for path in own_app(folder)]
    members[:0] = [ArchiveMember(name, path, path.stat().st_size) for name, path in beside if path.is_file()]
    members += [ArchiveMember(name, path, path.stat().st_size) for name, path in sorted(more.items())]
    out = [] if keys else [member for member in members if is_key(member.name)]
    return [member for member in members if member not in out], [member.name.removeprefix("state/") for member in out]


def is_key(name: str) -> bool:
    """Whether a member of a backup, of the server or of an edge's membership above, is a private key."""
    from roughfed.server.backup.snapshot import KEYS

    return KEYS.fullmatch(name.removeprefix("upstream/").removeprefix("state/")) is not None


def own_app(folder: Path) -> list[Path]:
    """The file of the own model, where it lies beside fed.toml."""
    from roughfed.deploy import aggregator

    try:
        app = aggregator.load(folder, {}).model.app
    except ConfigError:  # a backup of settings that do not fit is better than none
        return []
    path = (folder / app.rpartition(":")[0]).resolve() if app else folder
    return [path] if path.parent == folder.resolve() and PLAIN.fullmatch(path.name) and path.is_file() else []


def say(context: CommandContext, about: Mapping[str, Any], out: Path, size: int, left_out: list[str]) -> None:
    """What was written, and what to keep in mind."""
    number = f"round {about['round']}{' (open)' if about['open_round'] else ''}"
    what = f"{about['run']}, {number}, version {about['version']}" if about["run"] else "no run yet"
    context.say(f"wrote {out}: {what}, {size:,} bytes")
    if left_out:
        context.say(f"without {', '.join(left_out)}: keep them elsewhere, a restore needs them there (in state/)")
    else:
        context.note("It holds the federation's private keys: keep it like one of them.", style="dim")


def say_key(context: CommandContext, signed: str) -> None:
    """Whose signature it has."""
    if signed:
        context.say(f"signed with the server's key {signed}")
        context.note("Write the key down elsewhere: `roughfed restore --key` holds a backup against it.", style="dim")
    else:
        context.warn("it is not signed: this directory has no key before its first start; restore asks for --unsigned")


@contextmanager
def progress(context: CommandContext, what: str, total: int) -> Generator[Callable[[int], None]]:
    """A bar for people at a terminal; gives the function that takes bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=context.json or not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
