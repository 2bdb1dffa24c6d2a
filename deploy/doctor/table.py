"""What was found, drawn for a terminal: a symbol and a word for each state, not colour alone."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from roughfed.deploy.doctor.finding import CheckState, Finding
from roughfed.deploy.doctor.run import Examination

SHOWN_CHARS = 80  # of a measured value; `--json` has all of it
SYMBOLS = {CheckState.OK: "✓", CheckState.WARNING: "!", CheckState.FAILURE: "✗", CheckState.SKIPPED: "-"}
STYLES = {
    CheckState.OK: "green",
    CheckState.WARNING: "yellow",
    CheckState.FAILURE: "bold red",
    CheckState.SKIPPED: "dim",
}


def draw(examination: Examination, what: str, *, everything: bool = False) -> Group:
    """The table, what does not apply here, and a line that sums it up.

    Args:
        examination: what was found.
        what: the directory, for the title.
        everything: a row for all that is in order, too; otherwise one for each check.
    """
    table = Table(box=box.SIMPLE_HEAD, title=f"roughfed doctor: {what}", title_justify="left", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", overflow="fold", max_width=26)
    table.add_column("finding", overflow="fold")
    aside = list[str]()
    for name, findings in examination.findings.items():
        fine = [finding for finding in findings if finding.state is CheckState.OK]
        aside += [named(name, finding) for finding in findings if finding.state is CheckState.SKIPPED]
        if len(fine) > 1 and not everything:
            table.add_row(mark(CheckState.OK), name, ", ".join(dict.fromkeys(finding.about for finding in fine)))
            fine = []
        for finding in (f for f in findings if f in fine or f.state in (CheckState.WARNING, CheckState.FAILURE)):
            table.add_row(mark(finding.state), named(name, finding), words(finding))
    skipped = Text(f"{SYMBOLS[CheckState.SKIPPED]} not applicable: {', '.join(aside)}\n" if aside else "", style="dim")
    return Group(table, skipped, Text(summary(examination)))


def mark(state: CheckState) -> Text:
    """A symbol and a word."""
    return Text(f"{SYMBOLS[state]} {state}", style=STYLES[state])


def named(name: str, finding: Finding) -> str:
    """The check, and which of its things."""
    return f"{name}: {finding.about}" if finding.about else name


def words(finding: Finding) -> Text:
    """The sentence, the value behind it, and below them what to do."""
    text = Text(finding.sentence)
    if finding.measured:
        short = finding.measured if len(finding.measured) <= SHOWN_CHARS else f"{finding.measured[:SHOWN_CHARS]}..."
        text.append(f" ({short})", style="dim")
    if finding.cure:
        text.append(f"\n-> {finding.cure}", style="cyan")
    return text


def summary(examination: Examination) -> str:
    """How many of which kind, in words."""
    failures, warnings = examination.count(CheckState.FAILURE), examination.count(CheckState.WARNING)
    if not any(examination.count(state) for state in (CheckState.OK, CheckState.WARNING, CheckState.FAILURE)):
        return "nothing was looked at: is this the right directory (--dir)?"
    if not failures and not warnings:
        return f"all is well; in order: {examination.count(CheckState.OK)}"
    return f"failures: {failures}, warnings: {warnings}, in order: {examination.count(CheckState.OK)}"
