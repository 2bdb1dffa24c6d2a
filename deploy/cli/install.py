"""`--install` of `roughfed join` and `roughfed server`: a systemd unit for this directory."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import CommandContext
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.deploy.systemd import Role, Service

Install = Annotated[
    bool, typer.Option("--install", help="Write a systemd unit that runs it, instead of running it now.")
]
InstallTo = Annotated[
    Path | None, typer.Option("--install-to", metavar="FOLDER", help="As --install, but write the unit there.")
]
User = Annotated[
    str,
    typer.Option(metavar="ACCOUNT", help="With --install: account that it runs as. [default: the directory's owner]"),
]
Start = Annotated[bool, typer.Option("--start", help="With --install: enable the unit, and start it now.")]

SYSTEM = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""There when systemd is the system's first process (`man sd_booted`)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The four flags.

    Attributes:
        install: write a unit.
        to: another folder for it; then nothing is asked of this machine's systemd.
        user: account that the service runs as.
        start: enable and start it.
    """

    install: bool
    to: Path | None = None
    user: str = ""
    start: bool = False

    @property
    def wanted(self) -> bool:
        """Whether a unit is to be written."""
        return self.install or self.to is not None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a unit goes, and who will run it.

    Attributes:
        folder: where the unit is written.
        user: account of a unit of the system; empty = a unit of this user's own service manager.
        start: enable and start it.
        here: this machine's systemd reads the folder.
    """

    folder: Path
    user: str
    start: bool
    here: bool

    @property
    def systemctl(self) -> list[str]:
        """The command that speaks to the service manager in question."""
        return ["systemctl"] if self.user else ["systemctl", "--user"]


def prepare(folder: Path, asked: Asked) -> Target | None:
    """What can be refused before an invite is spent.

    Args:
        folder: the server's or client's directory.
        asked: the flags.

    Returns:
        where the unit goes; None when no unit was asked for.

    Raises:
        ConfigError: no systemd here, no such account, a folder that the account cannot enter, or flags that do not
            go together.
    """
    if not asked.wanted:
        if asked.user or asked.start:
            raise ConfigError(
                "it says how a unit is installed", key="--user" if asked.user else "--start", cure="add --install"
            )
        return None
    if asked.to is not None and asked.start:
        raise ConfigError("a unit that was written elsewhere cannot be started here", key="--start", cure="--install")
    if asked.to is None:
        refuse_without_systemd()
    user = account_for(folder, asked)
    if asked.to is None and not user:
        refuse_without_own_systemd()
    default = SYSTEM if user else own_units()
    return Target(asked.to or default, user, asked.start, here=asked.to is None)


def account_for(folder: Path, asked: Asked) -> str:
    """The account of a unit of the system; empty for a unit of one's own.

    Raises:
        ConfigError: none was named and the folder is root's, or it is unknown, or only root may name one.
    """
    root = os.geteuid() == 0
    if not root and not asked.user:
        return ""
    if not root and asked.to is None:
        raise ConfigError("only root installs units for other accounts", key="--user", cure="sudo, or leave it out")
    user = asked.user or owner_of(folder)
    if user in ("", "root"):
        raise ConfigError(
            "it does not run as root",
            key="--user",
            cure="name an account: useradd --system roughfed, then --user roughfed",
        )
    if root:
        refuse_closed(folder, known(user))
    return user


def known(user: str) -> pwd.struct_passwd:
    """An account of this machine.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"there is no account {user!r}", key="--user", cure=f"useradd --system {user}") from None


def owner_of(folder: Path) -> str:
    """Name of the account that a folder belongs to; empty where there is no folder, or nobody of that number."""
    try:
        return folder.owner()
    except (KeyError, FileNotFoundError):
        return ""


def refuse_closed(folder: Path, account: pwd.struct_passwd) -> None:
    """A folder that stays somebody else's must let the account in.

    Raises:
        ConfigError: it does not.
    """
    if not folder.exists():
        return
    found = folder.stat()
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    shift = 6 if found.st_uid == account.pw_uid else 3 if found.st_gid in groups else 0
    if (stat.S_IMODE(found.st_mode) >> shift) & 0o5 != 0o5:
        raise ConfigError(
            f"{account.pw_name} may not enter it", file=str(folder.absolute()), cure=f"chown {account.pw_name} {folder}"
        )


def refuse_without_systemd() -> None:
    """Nothing would ever start the unit.

    Raises:
        ConfigError: systemd does not run here.
    """
    if not BOOTED.is_dir() or shutil.which("systemctl") is None:
        raise ConfigError(
            "systemd does not run here (a container, or another init)",
            key="--install",
            cure="leave --install out, and let what starts processes here run the command without it; "
            "or write the unit for another machine: --install-to FOLDER",
        )


def refuse_without_own_systemd() -> None:
    """The same for one's own units.

    Raises:
        ConfigError: no service manager of this user runs.
    """
    if not (Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}") / "systemd").is_dir():
        raise ConfigError(
            "no service manager of this user runs here",
            key="--install",
            cure="log in as that user itself (not by su), or as root: --install --user NAME",
        )


def own_units() -> Path:
    """Where the units of this user are."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "systemd" / "user"


def program() -> tuple[str, ...]:
    """This roughfed as the beginning of a command line."""
    script = Path(sys.executable).with_name("roughfed")
    # -P: not the folder that the service happens to run in.
    return (str(script),) if script.is_file() else (sys.executable, "-P", "-m", "roughfed.deploy.cli")


def reads(more: Iterable[str] = ()) -> tuple[Path, ...]:
    """Folders that a service must be able to read: the interpreter's, the packages', and `more` that are not empty."""
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).parent}
    for name in ("roughfed", "roughfed.server", "roughfed.client", "roughfed.deploy"):
        spec = find_spec(name)
        places |= {Path(place) for place in (spec.submodule_search_locations or () if spec else ())}
    return tuple(sorted(places | {Path(path) for path in more if path}))


def service(context: CommandContext, role: Role, name: str, arguments: tuple[str, ...], target: Target) -> Service:
    """The service of this directory; a caller adds what only its role has."""
    from roughfed.deploy.systemd import Service

    folder = context.folder.absolute()
    return Service(role, name, folder, (*program(), *arguments), target.user, reads=reads())


def write(context: CommandContext, target: Target, wanted: Service) -> dict[str, object]:
    """Write the unit, give the account its files, and start the unit or say how.

    Returns:
        what `--json` tells: the unit's path, and whether it was started.

    Raises:
        ConfigError: a path that no unit can name, or systemctl refused.
        StorageError: the disk refused.
    """
    from roughfed.deploy.systemd import render
    from roughfed.files import disk_errors, write_durably

    text, path = render(wanted), target.folder / wanted.unit
    refuse_another(path, text)
    with disk_errors(f"write {path}"):
        target.folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, text.encode(), mode=0o644)
    if os.geteuid() == 0 and target.user:
        hand_over(wanted.folder, known(target.user))
    context.say(f"wrote {path}")
    todo = [[*target.systemctl, "daemon-reload"], [*target.systemctl, "enable", "--now", wanted.unit]]
    if target.start:
        for command in todo:
            call(command)
        context.say(f"started {wanted.unit}; its log: journalctl {'' if target.user else '--user '}-u {wanted.unit}")
    else:
        say_how(context, target, todo)
    return {"unit": str(path.absolute()), "started": target.start}


def refuse_another(path: Path, text: str) -> None:
    """A unit is written anew for the directory that it is of, and never for another one.

    Raises:
        ConfigError: there is one of that name for another directory, or by another hand.
    """
    about = text.partition("\n")[0]
    if path.exists() and path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] != about:
        raise ConfigError(
            "there is a unit of that name already, for something else",
            file=str(path),
            cure="remove it if it is not needed; another name in this federation needs another invite",
        )


def say_how(context: CommandContext, target: Target, todo: list[list[str]]) -> None:
    """The commands that start it."""
    context.say("start it with:" if target.here else "copy it there, then:", style="bold")
    for command in todo:
        context.say(f"  {' '.join(command)}")
    if not target.user:
        context.say("  loginctl enable-linger          so that it runs while you are not logged in")


def hand_over(folder: Path, account: pwd.struct_passwd) -> None:
    """Let the account own what it must write; links are not followed, and other files stay whose they are.

    Raises:
        StorageError: the disk refused.
    """
    from roughfed.files import disk_errors
    from roughfed.ownership import give

    ours = [folder / name for name in ("state", "client.toml", "fed.toml", "upstream")]
    there = [path for path in ours if path.is_symlink() or path.exists()]
    alone = {path.name for path in folder.iterdir()} <= {path.name for path in ours}
    with disk_errors(f"give {folder} to {account.pw_name}"):
        if alone:
            os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)
        for path in there:
            give(path, account.pw_uid, account.pw_gid)


def call(command: list[str]) -> None:
    """Run a command of systemd's.

    Raises:
        ConfigError: it refused; with its own words.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ConfigError(f"{' '.join(command)}: {words}", key="--start", cure="see `journalctl -xe`")
