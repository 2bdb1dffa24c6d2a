"""`roughfed report`: the page of a run, out of its journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command, plural
from roughfed.errors import StorageError


@dataclass(frozen=True, slots=True)
class ReportFlags:
    """Where to, and beside what."""

    out: Annotated[Path | None, typer.Option(help="The file to write. [default: report.html in --dir]")] = None
    plain: Annotated[
        Path | None,
        typer.Option(help="Directory of a run of plain FedAvg on the same data, to be shown beside this one."),
    ] = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "report", flags=ReportFlags)(report)


def report(context: CommandContext, flags: ReportFlags) -> Answer:
    """Write report.html about the run.

    One self-contained page: curves, classes, bytes, dropouts; and the audit whose audit.json lies in --dir. Also
    while the server runs.
    """
    from roughfed.deploy.audit.page import sections
    from roughfed.deploy.audit.result import read_audit
    from roughfed.deploy.summary import run_summary
    from roughfed.report.html import render

    summary = run_summary(context.folder)
    plain = run_summary(flags.plain) if flags.plain is not None else None
    audit = read_audit(context.folder)
    out = flags.out or context.folder / "report.html"
    try:
        out.write_text(render(summary, () if audit is None else sections(audit), plain=plain), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror}") from error
    context.say(f"wrote {out}: {plural(len(summary.rounds), 'round')} of {summary.run}")
    return Answer({"run": summary.run, "rounds": len(summary.rounds), "report": str(out.absolute())})
