"""Reading a settings file: what is there instead of one, and what its writer meant by what is no TOML."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from roughfed.errors import ConfigError

MAX_BYTES = 1 << 20
"""No settings file is that long: something else has its name."""

FILES = {"fed.toml": "a server's directory", "client.toml": "a client's directory"}
RUNS = {"fed.toml": "roughfed server", "client.toml": "roughfed join"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

MEANT: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), cure)
    for pattern, cure in (
        (r"^(<{7}|={7}|>{7})", "Resolve the merge: keep one of the two versions, and delete the marks."),
        (r"[\u201c\u201d\u2018\u2019\u201e]", 'Write straight quotes (") instead of typographic ones.'),
        (r"^\s*(;|//|--)", "Begin comments with #."),
        (r'^\s*\{|^\s*"[^"]*"\s*:', "This is JSON; write `[table]` lines and below them `key = value`."),
        (r"=\s*(True|False|TRUE|FALSE|Yes|No|yes|no|on|off)\b", "Write true or false, in lower case."),
        (r"=\s*(None|null|nil)\b", "Leave the key out: then it has its default."),
        (r"^\s*[\w.-]+\s*==", "Write a single `=`."),
        (r"^\s*[\w.-]+\s*:(\s|$)", "Write `key = value` with `=`, below a `[table]`; this looks like YAML."),
        (r'=\s*"[^"]*\\', "Write paths with / or between single quotes: in double quotes, a backslash is an escape."),
        (r"=\s*\d{1,3}(,\d{3})+\s*(#|$)", "Write numbers without commas."),
        (r"=\s*[^,#\[{]+,\s*(#|$)", "Remove the comma at the end of the line."),
        (r"=\s*\d+(\.\d+)?\s*(s|m|h|min|[KMGT]i?B)\b", 'Write the value with its unit in quotes, for example "10m".'),
        (r"=\s*0\d+", "Write the number without leading zeros."),
        (r"=\s*(#|$)", "Write a value behind the =, or remove the line."),
        (r"^\s*\[+[^\]]*$", "Close the bracket: [table]."),
    )
)
"""What a line looks like that is no TOML, and what to write instead; the first that fits counts."""


def read(path: Path, made_by: str) -> str:
    """The text of a settings file.

    Args:
        path: the file.
        made_by: the command that writes such a file, for the cure.

    Raises:
        ConfigError: no such file, not a plain one, too long, not readable, not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no plain file"
            raise ConfigError(f"{path.name} is {what}.", file=str(path), cure="Put the settings file in its place.")
        if status.st_size > MAX_BYTES:
            cause = f"The file has {status.st_size} bytes: this is no settings file."
            raise ConfigError(cause, file=str(path), cure="Put the settings file in its place.")
        return _decoded(path, path.read_bytes())
    except FileNotFoundError:
        cause, cure = absent(path, made_by)
        raise ConfigError(cause, file=str(path), cure=cure) from None
    except NotADirectoryError:
        cause = f"{path.parent} is a file, no folder."
        raise ConfigError(cause, file=str(path), cure="Name the folder with --dir.") from None
    except OSError as error:
        cause = f"The file cannot be read ({error.strerror})."
        raise ConfigError(cause, file=str(path), cure="Make it a file that this user may read.") from None


def _decoded(path: Path, data: bytes) -> str:
    """UTF-8, with or without the mark that some editors begin with."""
    try:
        if data.startswith(_UTF_16):
            cure = "Save it as UTF-8 (Notepad: Save as, Encoding; PowerShell: Out-File -Encoding utf8)."
            raise ConfigError("The file is UTF-16 text.", file=f"{path}:1", cure=cure)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError("The file is not UTF-8 text.", file=f"{path}:{line}", cure="Save it as UTF-8.") from None


def absent(path: Path, made_by: str) -> tuple[str, str]:
    """Why there is no such file, and what to do: cause and cure."""
    if path.is_symlink():
        return "The file is a link that leads nowhere.", "Correct the link, or put the file in its place."
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}.", "Name the folder with --dir."
    for other, what in FILES.items():
        if other != path.name and (path.parent / other).exists():
            cure = f"{other} is here: this is {what}, in which `{RUNS[other]}` runs. Name another folder with --dir."
            return f"There is no {path.name} here.", cure
    if near := next((p.name for p in sorted(path.parent.iterdir()) if _meant(p.name, path.name)), ""):
        return f"There is no {path.name} here.", f"Rename {near}, which is here, to {path.name}."
    return "There is no such file.", f"Run `{made_by}` there first, or name the folder with --dir."


def _meant(name: str, wanted: str) -> bool:
    """Whether a file seems to have been meant: another case, or an ending that an editor added."""
    stem = wanted.removesuffix(".toml")
    return name.lower() in (
        wanted,
        f"{wanted}.txt",
        f"{wanted}.bak",
        f"{stem}.tml",
        f"{stem}.conf",
        f"{stem}.toml.toml",
    )


def meant_by(line: str) -> str:
    """What to write instead of a line that is no TOML; empty when nothing is known that would fit."""
    return next((cure for pattern, cure in MEANT if pattern.search(line)), "")
