"""systemd units: the files beside this one, and the same for another user, folder and interpreter.

`roughfed-server.service` and `roughfed-client@.service` work as they stand (docs/operate.md). What `roughfed join
--install` and `roughfed server --install` write is made from them line by line, with all that hardens them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from roughfed.errors import ConfigError

TEMPLATES = {"server": "roughfed-server.service", "client": "roughfed-client@.service"}
GPU = "gpu.conf"

IN_HOMES = ("/home", "/root", "/run/user")  # ProtectHome= hides them
IN_TMP = ("/tmp", "/var/tmp")  # noqa: S108  PrivateTmp= hides them; compared, not written to
NOT_IN_A_PATH = "\"'\\:*?[]"
"""Characters that mean something else in one of the places where a unit names a path."""

NEEDS_ROOT = (
    "User", "CapabilityBoundingSet", "PrivateDevices", "PrivateIPC", "PrivateTmp", "PrivateUsers", "ProtectClock",
    "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "RuntimeDirectory", "RuntimeDirectoryMode",
    "RuntimeDirectoryPreserve", "StateDirectory", "StateDirectoryMode",
)  # fmt: skip
"""What the service manager of a user cannot do: mounts, capabilities, other accounts. It can filter system calls."""

OF_A_USER: Mapping[str, Sequence[str]] = dict.fromkeys([*NEEDS_ROOT, "Wants", "After"], ()) | {
    "WantedBy": ("default.target",)
}
"""What differs in a unit of a user's service manager, which knows no network-online.target either."""

COMMAND = {"server": "server", "client": "join"}

Role = Literal["server", "client"]


@dataclass(frozen=True, slots=True)
class Service:
    """A server or a client that systemd is to run.

    Attributes:
        role: which of the two.
        name: the client's enrolled name, the federation's for a server.
        folder: its directory, absolute.
        program: the command line without `--dir`.
        user: account that it runs as; empty = a unit of the service manager of whoever installs it.
        gpu: it may use NVIDIA GPUs.
        reads: further paths that it must be able to read: the interpreter, the own app, the data.
    """

    role: Role
    name: str
    folder: Path
    program: tuple[str, ...]
    user: str = ""
    gpu: bool = False
    reads: tuple[Path, ...] = ()

    @property
    def unit(self) -> str:
        """File name of its unit."""
        return f"roughfed-{self.role}-{self.name}.service"


def template(role: Role) -> str:
    """The file for a role, as it is installed with the package."""
    return read(TEMPLATES[role])


def read(name: str) -> str:
    """A file of this folder."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def render(service: Service) -> str:
    """The unit of a service.

    Raises:
        ConfigError: a path cannot be named in a unit.
    """
    folder = path_of(service.folder)
    environment = f"{'/etc' if service.user else '%E'}/roughfed/{_instance(service)}.env"
    changes: dict[str, Sequence[str]] = {
        "Description": [f"roughfed {service.role} {service.name}"],
        "WorkingDirectory": [folder],
        "ExecStart": [" ".join(argument(a) for a in (*service.program, "--dir", str(service.folder)))],
        "EnvironmentFile": [f"-{environment}"],
    }
    changes |= _system(service) if service.user else OF_A_USER
    about = f"# The {service.role} in {folder}, written by `roughfed {COMMAND[service.role]} --install`."
    return "\n".join([about, *_edited(template(service.role), changes, _extra(service))]) + "\n"


def _instance(service: Service) -> str:
    return service.name if service.role == "client" else "server"


def _system(service: Service) -> dict[str, Sequence[str]]:
    """What differs in a unit of the system."""
    changes: dict[str, Sequence[str]] = {"User": [service.user], "StateDirectory": (), "StateDirectoryMode": ()}
    if any(_below(path, IN_HOMES) for path in (service.folder, *service.reads)):
        changes["ProtectHome"] = ["tmpfs"]  # hidden as before, but for the paths that are bound into it
    if service.gpu:
        changes["PrivateDevices"] = ["no"]
    return changes


def _extra(service: Service) -> list[str]:
    """Lines that the template does not have: the paths it may use, and the GPU."""
    if not service.user:
        return []
    hidden = (*IN_HOMES, *IN_TMP)
    lines = [f"{'BindPaths' if _below(service.folder, hidden) else 'ReadWritePaths'}={quoted(path_of(service.folder))}"]
    lines += [f"BindReadOnlyPaths={quoted(path_of(path))}" for path in outermost(service.reads) if _below(path, hidden)]
    if any(_below(path, ("/root",)) for path in (service.folder, *service.reads)):
        lines.append("TemporaryFileSystem=/root:ro,mode=0755")  # ProtectHome=tmpfs lets nobody but root into this one
    if service.gpu:
        body = read(GPU).partition("[Service]\n")[2]
        lines += [line for line in body.splitlines() if line and not line.startswith("PrivateDevices=")]
    return lines


def _edited(text: str, changes: Mapping[str, Sequence[str]], extra: Sequence[str]) -> Iterator[str]:
    """The template's lines after its opening comment; `extra` goes to the end of [Service]."""
    for line in text[text.index("\n[Unit]") :].splitlines():
        key, equals, _ = line.partition("=")
        if line == "[Install]":
            yield from [*extra, ""] if extra else []
        if equals and not line.startswith("#") and key in changes:
            yield from (f"{key}={value}" for value in changes[key])
        else:
            yield line


def _below(path: Path, roots: Sequence[str]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def outermost(paths: Sequence[Path]) -> list[Path]:
    """Those that lie in none of the others, each once."""
    found: list[Path] = []
    for path in sorted(set(paths), key=lambda p: (len(p.parts), p)):
        if not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found


def path_of(path: Path) -> str:
    """A path as the value of a setting.

    Raises:
        ConfigError: it holds characters that mean something else there.
    """
    text = str(path)
    if bad := sorted({c for c in text if c in NOT_IN_A_PATH or not c.isprintable()}):
        raise ConfigError(
            f"a unit cannot name a path with {' '.join(map(repr, bad))} in it", file=text, cure="use a plainer name"
        )
    return text.replace("%", "%%")


def argument(text: str) -> str:
    """One argument of ExecStart.

    Raises:
        ConfigError: see `path_of`.
    """
    return quoted(path_of(Path(text)).replace("$", "$$"))


def quoted(value: str) -> str:
    """One word of a list of words."""
    return f'"{value}"' if " " in value else value
