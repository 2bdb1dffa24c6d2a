"""`roughfed ledger verify | show | export`: who contributed what, and whether that is what was written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from roughfed.deploy.cli.command import LEDGER_BAD, Answer, CommandContext, command, plural
from roughfed.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from rich.table import Table

    from roughfed.server.extensions.ledger.check import Checked

COLUMNS = ("round", "client", "reason", "weight", "flag", "twin", "total", "low", "high", "share", "tier")
"""Of the CSV; the parts of the scores follow, each in a column of its own."""


@dataclass(frozen=True, slots=True)
class LedgerVerifyFlags:
    """Which ledger."""

    file: Annotated[Path | None, typer.Option(help="A copy, without its journal. [default: the one in --dir]")] = None
    key: Annotated[str, typer.Option(help="Public key of the server that must have signed the copy, in hex.")] = ""


@dataclass(frozen=True, slots=True)
class LedgerShowFlags:
    """Of whom."""

    client: Annotated[str, typer.Argument(metavar="[CLIENT]", help="All lines of this client.")] = ""


@dataclass(frozen=True, slots=True)
class LedgerExportFlags:
    """Where to, of whom, and how."""

    out: Annotated[Path, typer.Option(help="The file to write; an existing one is replaced.")]
    client: Annotated[str, typer.Option(help="Only the lines of this client.")] = ""
    csv: Annotated[bool, typer.Option("--csv", help="A table instead of the lines as they are.")] = False


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="What each client contributed, in a ledger that nobody can change unseen.")
    command(group, "verify", flags=LedgerVerifyFlags)(verify)
    command(group, "show", flags=LedgerShowFlags)(show)
    command(group, "export", flags=LedgerExportFlags)(export)
    group.callback()(_group)
    app.add_typer(group, name="ledger")


def _group() -> None:
    """What each client contributed, in a ledger that nobody can change unseen."""


def verify(context: CommandContext, flags: LedgerVerifyFlags) -> Answer:
    """Check every line, signature and score of the ledger, and that nothing is missing at its end.

    Names the first line that is wrong, and why; the exit code is then 7. Also while the server runs.
    """
    from roughfed.server.extensions.ledger.check import check_file

    if flags.key and flags.file is None:
        raise ConfigError("the key of this directory's server is known", key="--key", cure="give --file as well")
    found = checked(context) if flags.file is None else check_file(flags.file, key=flags.key.lower() or None)
    if found.problem is None:
        signed = f"signed by {', '.join(found.keys)}" if found.keys else "not signed by anybody"
        read = f"{plural(len(found.entries), 'line')}, {plural(found.rounds, 'round')}"
        context.say(f"right: {read}, every score follows; {signed}")
        if flags.file is not None:
            context.note("whether rounds are missing at its end, only the server's journal knows", style="dim")
    return Answer(about(found), tell(context, found))


def show(context: CommandContext, flags: LedgerShowFlags) -> Answer:
    """Show what each client contributed so far, or all lines of one.

    If the ledger is not what was written, what stands before the first wrong line; the exit code is then 7.
    """
    found = checked(context)
    rows = lines_of(found, flags.client) if flags.client else standing(found)
    context.say(table(rows) if not flags.client else table([flat(row) for row in rows]))
    return Answer({**about(found), "entries" if flags.client else "clients": rows}, tell(context, found))


def export(context: CommandContext, flags: LedgerExportFlags) -> Answer:
    """Write the ledger, or one client's lines, to a file; as lines of JSON, or as a table.

    Not if it is not what was written: the exit code is then 7.
    """
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.server.storage.layout import LEDGER

    if flags.out.resolve() == (ServerFiles(context.folder).state / LEDGER).resolve():
        raise ConfigError(f"{flags.out} is the ledger itself", key="--out", cure="name another file")
    found = checked(context)
    if found.problem is not None:
        return Answer(about(found), tell(context, found))
    rows = lines_of(found, flags.client) if flags.client else list(found.entries)
    text = as_csv(rows) if flags.csv else as_lines(rows)
    try:
        flags.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {flags.out}: {error.strerror or error}") from error
    context.say(f"wrote {flags.out}: {text.count(chr(10))} lines")
    return Answer({**about(found), "out": str(flags.out.absolute())})


# -- reading -----------------------------------------------------------------------------------------------------------


def checked(context: CommandContext) -> Checked:
    """The ledger in --dir."""
    from roughfed.deploy.summary import open_store
    from roughfed.server.extensions.ledger.check import check_ledger

    with closing(open_store(context.folder)) as store:
        return check_ledger(store)


def about(found: Checked) -> dict[str, object]:
    """What --json says of a check."""
    wrong = found.problem
    return {
        "ok": wrong is None,
        "lines": len(found.entries),
        "rounds": found.rounds,
        "head": found.head,
        "keys": list(found.keys),
        "waiting": found.waiting,
        "problem": None if wrong is None else {"line": wrong.line, "what": wrong.what, "why": wrong.why},
    }


def tell(context: CommandContext, found: Checked) -> int:
    """Say what is wrong, if something is; returns the exit code."""
    if found.waiting:
        context.note(f"{plural(found.waiting, 'round')} journaled and not in the file yet", style="dim")
    if (wrong := found.problem) is None:
        return 0
    context.warn(f"line {wrong.line} is wrong ({wrong.what}): {wrong.why}")
    return LEDGER_BAD


def lines_of(found: Checked, client: str) -> list[dict[str, Any]]:
    """The lines of one client.

    Raises:
        ConfigError: it has none.
    """
    from roughfed.server.extensions.ledger.hash_chain import entries_of

    rows = [dict(entry) for entry in entries_of(found.entries, client)]
    if not rows:
        names = sorted({entry["client"] for entry in found.entries if entry["kind"] == "client"})
        raise ConfigError(f"no line is about {client!r}", key="CLIENT", cure=f"one of: {', '.join(names) or 'nobody'}")
    return rows


def standing(found: Checked) -> list[dict[str, Any]]:
    """One row for each client: what is known after the last round."""
    counted: dict[str, list[int]] = {}
    for entry in found.entries:
        if entry["kind"] == "client":
            counts = counted.setdefault(entry["client"], [0, 0])
            counts[0] += not entry["reason"]
            counts[1] += 1
    book = found.book
    return [
        {
            "client": name,
            "accepted": accepted,
            "asked": asked,
            "total": book.standing.totals.get(name),
            "interval": list(book.standing.intervals[name]) if name in book.standing.intervals else None,
            "share": book.given.shares.get(name),
            "tier": book.given.levels.get(name),
            "flag": book.flags.get(name, ""),
        }
        for name, (accepted, asked) in sorted(counted.items())
    ]


# -- writing -----------------------------------------------------------------------------------------------------------


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A client's line as a row of a table."""
    low, high = row.get("interval") or (None, None)
    parts: Mapping[str, Any] = row.get("parts") or {}
    scores = {f"score {name}": value for name, value in sorted(parts.items())}
    return {**{name: row.get(name) for name in COLUMNS}, "low": low, "high": high, **scores}


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """As they are in the ledger, byte by byte: a whole export can be checked with `verify --file`."""
    from roughfed.server.extensions.ledger.hash_chain import canonical

    return "".join(canonical(row).decode() + "\n" for row in rows)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The clients' lines as a table."""
    flattened = [flat(row) for row in rows if row["kind"] == "client"]
    names = [*COLUMNS, *sorted({name for row in flattened for name in row} - set(COLUMNS))]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in flattened)
    return out.getvalue()


def table(rows: Sequence[Mapping[str, Any]]) -> Table | str:
    """For people; columns that say nothing are left out."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return "no client took part yet"
    names = list(dict.fromkeys(name for row in rows for name in row))
    used = [name for name in names if any(row.get(name) not in (None, "", {}) for row in rows)]
    drawn = Table(*used)
    for row in rows:
        drawn.add_row(*(Text(_shown(row.get(name))) for name in used))  # a client's own words are no markup
    return drawn


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " to ".join(f"{each:.4g}" for each in cast("list[float]", value))
    return value if isinstance(value, str) else json.dumps(value)
