"""Draws a plan for a terminal: what is set, what it means, and the figures of a round, a column for each turnout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from roughfed.deploy.table import Column, FittingTable
from roughfed.report.scale import percent, size

if TYPE_CHECKING:
    from roughfed.deploy.plan import RunPlan, Turnout
    from roughfed.deploy.plan_groups import Grouping, Void
    from roughfed.deploy.plan_tiers import TierPlan

Figure = tuple[str, Sequence[str]]

WAITS = "waits"
COLLUDE = "Who colludes with the server: so many clients of a group may, while every sum has 3 inputs of others."
TIERS = (
    "A tier takes no part in a round without those it needs. Attackers are tolerated within it: whoever may choose "
    "its tier may be many in a small one."
)


def render(plan: RunPlan, *, everything: bool = False) -> RenderableType:
    """Draw a plan for a terminal; `everything`: also the settings that are at their defaults."""
    parts: list[RenderableType] = [*_verdict(plan), *_settings(plan, everything), Text(plan.server_sees)]
    if plan.not_protected:
        parts += [Text("Not protected:"), *(Text(f"- {sentence}") for sentence in plan.not_protected)]
    grouped = [t for t in plan.turnouts if t.groups]
    figures = [*_round(plan.turnouts), *(_groups([t.groups for t in plan.turnouts]) if grouped else ())]
    parts += [Text(), _sideways("with so many clients connected", [str(t.connected) for t in plan.turnouts], figures)]
    parts += [Text(COLLUDE, style="dim")] if grouped else []
    if plan.tiers:
        table = _sideways("tiers of clients", [each.name for each in plan.tiers], _tiers(plan.tiers))
        refused = [Text(f"{each.name}: {each.refused}") for each in plan.tiers if each.refused]
        parts += [Text(), table, *refused, Text(TIERS, style="dim")]
    parts.append(Text())
    parts += [Text(str(t.statistics)) for t in grouped[-1:] if t.statistics]
    parts.append(Text("Not built yet, refused by name: " + _not_built(plan.refused), style="dim"))
    return Group(*parts)


def _verdict(plan: RunPlan) -> Iterator[RenderableType]:
    """Whether it works, and what to look at; what cannot work at all was refused before."""
    works = any(not t.waiting for t in plan.turnouts)
    head = "These settings work" if works else "No round begins with so few clients"
    more = f", with {len(plan.warnings)} warning{'s' * (len(plan.warnings) > 1)}" if plan.warnings else ""
    yield Text(f"{head}{more}.", style="bold")
    yield from (Text(t.waiting) for t in plan.turnouts if t.waiting)
    yield from (Text(f"warning: {w}", style="yellow") for w in plan.warnings)
    yield Text()


def _settings(plan: RunPlan, everything: bool) -> Iterator[RenderableType]:
    rows = [row for row in plan.settings if everything or row.origin != "default"]
    columns = {"setting": [row.key for row in rows], "value": [row.value for row in rows]}
    styles = ["dim" if row.origin == "default" else "" for row in rows]
    drawn = [Column(title, cells, prose=True, styles=styles) for title, cells in columns.items()]
    places = [row.origin.rpartition("/")[2] for row in rows]  # the folder is the one that is asked about
    yield FittingTable([*drawn, Column("from", places, prose=True, spare=1, styles=styles)])
    if others := len(plan.settings) - len(rows):
        yield Text(f"and {others} settings at their defaults: roughfed plan --all", style="dim")
    yield Text()


def _sideways(title: str, heads: Sequence[str], figures: Iterable[Figure]) -> FittingTable:
    """A row for each figure, a column for each of what they are about."""
    rows = [(label, cells) for label, cells in figures if any(cells)]
    columns = [Column(head, [cells[at] for _, cells in rows], prose=True) for at, head in enumerate(heads)]
    return FittingTable([Column(title, [label for label, _ in rows], left=True), *columns])


def _round(turnouts: Sequence[Turnout]) -> Iterator[Figure]:
    def each(label: str, of: Callable[[Turnout], str], waits: str = "") -> Figure:
        return label, [of(t) if t.starts else waits for t in turnouts]

    yield each("asked to train", lambda t: str(t.invited), WAITS)
    yield each("updates that close a round", lambda t: str(t.goal))
    yield each("enough at its deadline", lambda t: str(t.quorum))
    yield each("may fail", lambda t: str(t.tolerated))
    yield each("down, to all", lambda t: _bytes(t.download_bytes))
    yield each("up, from all", lambda t: _bytes(t.upload_bytes))
    yield each("down, x float32 model", lambda t: f"{t.traffic.down_ratio:.3f}" if t.traffic else "?")
    yield each("up, x float32 model", lambda t: f"{t.traffic.up_ratio:.3f}" if t.traffic else "?")


def _groups(found: Sequence[Grouping | None]) -> Iterator[Figure]:
    def each(label: str, of: Callable[[Grouping], object]) -> Figure:
        return label, [f"{of(g)}" if g else "" for g in found]

    yield each("groups", lambda g: _sizes(g.sizes))
    yield each("bits of a code", lambda g: g.lane_bits)
    yield each("values of a code", lambda g: g.levels)
    yield each("fewest in a sum", lambda g: g.smallest_sum)
    yield each("may collude with the server", lambda g: g.may_collude)
    yield each("may be lost before the upload", lambda g: g.may_be_lost)
    yield each("may fall silent after it", lambda g: g.may_not_answer)
    yield each("may be left out by the defence", lambda g: g.may_be_excluded)
    for at, void in enumerate(next(g.void for g in found if g)):
        yield each(_losses(void), lambda g, at=at: f"{g.void[at].void * 100:.2f} %")


def _tiers(found: Sequence[TierPlan]) -> Iterator[Figure]:
    def each(label: str, of: Callable[[TierPlan], object]) -> Figure:
        return label, [f"{of(one)}" for one in found]

    yield each("sends", lambda one: "all" if one.keep_one_in == 1 else f"1 in {one.keep_one_in}")
    yield each("of", lambda one: ", ".join(one.tensors) or "all tensors")
    yield each("up, from one", lambda one: _bytes(one.update_bytes))
    yield each("up, x float32 model", lambda one: "?" if one.ratio is None else f"{one.ratio:.4f}")
    yield each("numbers of its sketch", lambda one: one.sketch_dim)
    yield each("clients", lambda one: one.clients)
    yield each("clients that it needs", lambda one: one.needs)
    yield each("attackers tolerated", lambda one: one.attackers)
    yield each("groups", lambda one: "takes no part" if one.refused else _sizes(one.groups))


def _sizes(sizes: Iterable[int]) -> str:
    return " + ".join(f"{len(list(same))} x {number}" for number, same in groupby(sizes))


def _not_built(refused: Iterable[str]) -> str:
    """Names, with the values of one key together."""
    values: dict[str, list[str]] = {}
    for name in refused:
        key, _, value = name.partition(" = ")
        values.setdefault(key, []).append(value)
    return ", ".join(f"{key} = {' | '.join(found)}" if found != [""] else key for key, found in values.items())


def _losses(v: Void) -> str:
    excluded = f", {percent(v.excluded)} left out" if v.excluded else ""
    return f"void: {percent(v.lost)} lost{excluded}"


def _bytes(number: int | None) -> str:
    return "?" if number is None else size(number)
