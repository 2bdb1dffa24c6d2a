"""`roughfed restore`: a directory out of a backup, all of it or nothing."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.backup import progress
from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError, StorageError
from roughfed.files import disk_errors, fsync_folder
from roughfed.ownership import give

if TYPE_CHECKING:
    from roughfed.server.backup.restore import RestoreSource

KEY = re.compile(r"[0-9a-fA-F]{64}")

UNPACKING = ".restore-"
"""What the name of the folder begins with into which a backup is unpacked."""

LATER = (
    "Members that were revoked, and clients that were quarantined, since then are so no more: see to it before the "
    "server starts."
)


@dataclass(frozen=True, slots=True)
class RestoreFlags:
    """What to restore."""

    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="What `roughfed backup` wrote.")]
    key: Annotated[
        str, typer.Option(metavar="KEY", help="The key that `roughfed backup` named; refuse any other's signature.")
    ] = ""
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Take a backup that nobody signed; whoever wrote it has your server.")
    ] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "restore", flags=RestoreFlags)(restore)


def restore(context: CommandContext, flags: RestoreFlags) -> Answer:
    """Make --dir out of a backup.

    The directory must have no state yet. Digests and signature are checked before anything is put in its place: what is
    in a backup runs at the next start. The server that is started there goes on with the run, and its clients follow,
    whatever they have played since.
    """
    from roughfed.deploy.archive import BackupReader
    from roughfed.deploy.edge import membership_backup
    from roughfed.server.backup.restore import adapt, origin_of, standing_vouches

    folder = context.folder.absolute()
    check_flags(flags)
    refuse_state(folder)
    membership_backup.refuse(folder)
    if not flags.file.is_file():
        raise ConfigError("there is no such file", file=str(flags.file), cure="name what roughfed backup --out wrote")
    with disk_errors(f"read {flags.file}"):
        file = flags.file.open("rb")
    with file:
        backup = BackupReader(file, flags.file.stat().st_size)
        origin = origin_of(backup.about)
        refuse_full(folder, backup.total)
        with unpacking(folder) as here:
            with progress(context, "restore", backup.total) as moved:
                backup.unpack(here, moved)
            check_signer(here / "state", backup.signer, flags)
            void = adapt(here / "state", origin)
            vouched = standing_vouches(here / "state")
            edge = membership_backup.restored(here)
            place(here, folder)
    missing = lacking(folder, backup.about.get("left_out"))
    say(context, origin, void, missing, vouched)
    if backup.signer is not None:
        context.say(f"signed with the server's key {backup.signer.hex()}")
    if edge:
        context.say("it is an edge: start it with --upstream, and its federation above goes on with it")
    return Answer(
        {
            "dir": str(folder),
            "run": origin.run,
            "round": origin.round,
            "version": origin.version,
            "made_at": datetime.fromtimestamp(origin.made_at, UTC).isoformat(timespec="seconds"),
            "software": origin.software,
            "files": len(backup.files),
            "void_invites": void,
            "missing": missing,
            "vouched": vouched,
            "edge": edge,
            "key": backup.signer.hex() if backup.signer is not None else "",
        }
    )


def check_flags(flags: RestoreFlags) -> None:
    """Raise ConfigError for a key that is none, or that nothing unsigned can have."""
    if flags.key and KEY.fullmatch(flags.key) is None:
        raise ConfigError("a key is 64 hexadecimal digits", key="--key", cure="copy what `roughfed backup` printed")
    if flags.key and flags.unsigned:
        raise ConfigError("a backup that nobody signed has no key", key="--unsigned", cure="leave one of both out")


def check_signer(state: Path, signer: bytes | None, flags: RestoreFlags) -> None:
    """Hold the signature of a backup against what is known of its server.

    Args:
        state: the unpacked state directory.
        signer: the key whose signature over all of it is good; None: there is no signature.
        flags: what the operator says of it.

    Raises:
        BadBackup: nobody signed it and that was not said, or it is signed by somebody else than its server.
    """
    from roughfed.deploy.archive import BadBackup
    from roughfed.server.backup.signer import certified

    if signer is None:
        if flags.unsigned:
            return
        raise BadBackup(
            "nobody signed it: an older version wrote it, or somebody took the signature off. If you know where it has "
            "been since, add --unsigned: its keys and code run at the next start"
        )
    if flags.key and signer.hex() != flags.key.lower():
        raise BadBackup(f"it is signed with the key {signer.hex()}, which is not the one that --key names")
    if signer not in certified(state):
        raise BadBackup(f"it is signed with the key {signer.hex()}, which its CA never certified as a server's")


def refuse_state(folder: Path) -> None:
    """Raise ConfigError where there is a state already."""
    state = folder / "state"
    if state.exists() and (not state.is_dir() or any(state.iterdir())):
        raise ConfigError(
            "there is a state here already, and a restore writes over nothing",
            file=str(state),
            cure="name an empty directory with --dir, or move this one away",
        )


def refuse_full(folder: Path, needed: int) -> None:
    """Raise StorageError where the disk has no room for so many bytes."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    with disk_errors(f"read {there}"):
        free = shutil.disk_usage(there).free
    if free < needed:
        raise StorageError(f"the backup has {needed:,} bytes, and {free:,} are free on the disk of {folder}")


@contextmanager
def unpacking(folder: Path) -> Generator[Path]:
    """A folder inside `folder`, gone at the end."""
    made = not folder.exists()
    with disk_errors(f"write in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(UNPACKING + "*"):  # of a restore that was killed
            shutil.rmtree(left)
        here = folder / (UNPACKING + secrets.token_hex(4))
        here.mkdir(mode=0o700)
    try:
        yield here
    except BaseException:
        shutil.rmtree(here, ignore_errors=True)
        if made:
            with suppress(OSError):  # not empty: that is not ours
                folder.rmdir()
        raise
    shutil.rmtree(here, ignore_errors=True)


def place(here: Path, folder: Path) -> None:
    """Put what was unpacked where it belongs; the state comes last, and all at once.

    Raises:
        ConfigError: another fed.toml, or app, lies there.
        StorageError: the disk refused, or the backup has no state.
    """
    from roughfed.deploy import roster

    beside = [here / "fed.toml", *roster.files(here), *sorted((here / "app").glob("*.py"))]
    beside = [path for path in beside if path.exists()]
    if not (here / "state").is_dir():
        raise StorageError("the backup has no state")
    for made in (path for path in here.rglob("*") if path.is_dir()):
        fsync_folder(made)
    with disk_errors(f"write in {folder}"):
        for path in beside:
            target = folder / path.name
            if target.exists() and target.read_bytes() != path.read_bytes():
                raise ConfigError(
                    "another one lies here, and a restore writes over nothing", file=str(target), cure="move it away"
                )
        for path in beside:
            path.chmod(0o644)
        folders = [path for path in (here / "upstream", here / "state") if path.exists()]  # the state last
        entrust(folder, [*beside, *folders])
        for path in (*beside, *folders):
            path.replace(folder / path.name)
    fsync_folder(folder)


def entrust(folder: Path, paths: list[Path]) -> None:
    """Give what root restored to whoever has the directory: the server that runs there can do nothing without it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        for path in paths:
            give(path, owner.st_uid, owner.st_gid)


def lacking(folder: Path, left_out: object) -> list[str]:
    """Private keys that a server needs, that were left out of the backup, and that are not there."""
    from roughfed.deploy.cli.backup import is_key

    names = [str(name) for name in left_out] if isinstance(left_out, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    wanted = [name if name.startswith("upstream/") else f"state/{name}" for name in names if is_key(name)]
    return [name for name in wanted if not (folder / name).exists()]


def say(context: CommandContext, origin: RestoreSource, void: int, missing: list[str], vouched: list[str]) -> None:
    """What was restored, and what is to be done."""
    made = datetime.fromtimestamp(origin.made_at, UTC)
    context.say(
        f"restored {origin.run or 'no run yet'}, round {origin.round}, as it was at {made:%Y-%m-%d %H:%M:%S} UTC"
    )
    if void:
        context.say(f"{void} open invites are void: an invite that was used since would work again")
    if missing:
        context.warn(f"put {', '.join(missing)} back (mode 0600) before the server starts: they are not in this backup")
    context.note(LATER, style="dim")
    if vouched:
        context.warn(
            f"the defence spares {', '.join(vouched)}, vouched for when the backup was made; where you withdrew that "
            f"since: roughfed vouch NAME --withdraw"
        )
    context.note("Never let two servers run from the same state: end the old one for good.", style="dim")
