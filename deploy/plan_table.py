"""Draws a plan for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from roughfed.deploy.plan import Plan, Turnout
    from roughfed.deploy.plan_groups import Grouping, Void
    from roughfed.deploy.plan_tiers import TierPlan

WAITS = "waits"
TIERS = (
    "needs: clients without which a tier takes no part in a round. attackers: of its clients, tolerated within it: "
    "whoever may choose its tier may be many in a small one."
)


def render(plan: Plan) -> RenderableType:
    """Draw a plan for a terminal."""
    parts: list[RenderableType] = [_settings_table(plan), Text(plan.server_sees)]
    if plan.not_protected:
        parts.append(Text("Not protected:"))
        parts += [Text(f"- {sentence}") for sentence in plan.not_protected]
    parts.append(_turnout_table(plan))
    if grouped := [t for t in plan.turnouts if t.groups]:
        parts += [_group_table(grouped), Text(_legend(grouped[0].groups), style="dim")]
    if plan.tiers:
        parts += [_tier_table(plan.tiers), Text(TIERS, style="dim")]
    parts += [Text(str(t.statistics)) for t in grouped[-1:] if t.statistics]
    parts += [Text(t.waiting) for t in plan.turnouts if t.waiting]
    parts += [Text(f"warning: {w}", style="yellow") for w in plan.warnings]
    parts.append(Text("Not built yet, refused by name: " + _not_built(plan.refused), style="dim"))
    return Group(*parts)


def _settings_table(plan: Plan) -> Table:
    table = Table("setting", "value", "from", title="Effective settings", title_justify="left")
    for row in plan.settings:
        table.add_row(Text(row.key), Text(row.value), Text(row.origin), style="dim" if row.origin == "default" else "")
    return table


def _turnout_table(plan: Plan) -> Table:
    table = Table(title="A round", title_justify="left")
    titles = ("connected", "invited", "goal", "quorum", "may fail", "down", "up", "down x float32", "up x float32")
    for title in titles:
        table.add_column(title, justify="right")
    for t in plan.turnouts:
        table.add_row(*_turnout_cells(t))
    return table


def _turnout_cells(t: Turnout) -> tuple[str, ...]:
    if not t.starts:
        return (str(t.connected), WAITS)
    numbers = map(str, (t.connected, t.invited, t.goal, t.quorum, t.tolerated))
    ratios = ("?", "?") if t.traffic is None else (f"{t.traffic.down_ratio:.3f}", f"{t.traffic.up_ratio:.3f}")
    return (*numbers, _mebibytes(t.download_bytes), _mebibytes(t.upload_bytes), *ratios)


def _group_table(turnouts: list[Turnout]) -> Table:
    table = Table(title="Its groups", title_justify="left")
    titles = ("connected", "groups", "lanes", "smallest sum", "collude", "may be lost", "silent", "excluded")
    for title in (*titles, "void A", "void B"):
        table.add_column(title, justify="right")
    for t in turnouts:
        if t.groups:
            table.add_row(str(t.connected), *_group_cells(t.groups))
    return table


def _group_cells(g: Grouping) -> tuple[str, ...]:
    sizes = " + ".join(f"{len(list(same))} x {size}" for size, same in groupby(g.sizes))
    numbers = (g.smallest_sum, g.may_collude, g.may_be_lost, g.may_not_answer, g.may_be_excluded)
    return (sizes, f"{g.lane_bits} bit, {g.levels}", *map(str, numbers), *(f"{v.void:.2%}" for v in g.void))


def _tier_table(tiers: Sequence[TierPlan]) -> Table:
    table = Table(title="Tiers of clients", title_justify="left")
    for title in ("tier", "sends", "of", "bytes", "x float32", "sketch", "needs", "clients", "attackers", "groups"):
        table.add_column(title, justify="left" if title in ("tier", "of", "groups") else "right")
    for one in tiers:
        sizes = " + ".join(f"{len(list(same))} x {size}" for size, same in groupby(one.groups))
        bytes_up = "?" if one.update_bytes is None else f"{one.update_bytes:,}"
        ratio = "?" if one.ratio is None else f"{one.ratio:.4f}"
        numbers = (bytes_up, ratio, str(one.sketch_dim), str(one.needs), str(one.clients), str(one.attackers))
        part = "all" if one.keep_one_in == 1 else f"1 in {one.keep_one_in}"
        of = ", ".join(one.tensors) or "all tensors"
        table.add_row(one.name, part, Text(of), *numbers, Text(one.refused or sizes))
    return table


def _legend(groups: Grouping | None) -> str:
    voids = zip("AB", groups.void if groups else (), strict=False)
    return (
        "lanes: bits of a code and its levels. collude: clients of a group that may, with the server, while every "
        "sum has 3 inputs of others. may be lost: before the upload; silent: after it; excluded: by the defence. "
        + " ".join(f"void {letter}: share of void groups with {_losses(v)}." for letter, v in voids)
    )


def _not_built(refused: Iterable[str]) -> str:
    """Names, with the values of one key together."""
    values: dict[str, list[str]] = {}
    for name in refused:
        key, _, value = name.partition(" = ")
        values.setdefault(key, []).append(value)
    return ", ".join(f"{key} = {' | '.join(found)}" if found != [""] else key for key, found in values.items())


def _losses(v: Void) -> str:
    excluded = f" and {v.excluded:.0%} of the others excluded" if v.excluded else ""
    return f"{v.lost:.0%} of the clients lost{excluded}"


def _mebibytes(number: int | None) -> str:
    return "?" if number is None else f"{number / (1 << 20):.1f} MiB"
