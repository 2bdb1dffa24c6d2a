"""Rows of the server's own for its defence: an update of its own examples (ROOT), and the last global step (PREVIOUS).

Both are made while the clients train, wait in files until the round is over, and are only made where the rule asks for
them. After a restart the files that are there count; what is missing is made again, the same (one thread, one device).

D parameters.
"""

from __future__ import annotations

import asyncio
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import ConfigError, RoundError, TrainerError
from roughfed.file_pool import retire, spare_of, written_over
from roughfed.files import disk_errors, place_durably, write_durably
from roughfed.masked_round import Masking, sketch_of_update
from roughfed.params import Flat, read_flat
from roughfed.rng import derive
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import PREVIOUS, ROOT
from roughfed.server.round.header import trainer_settings
from roughfed.server.storage.store import ACCEPTED, RoundRow
from roughfed.sketch.buckets import Sketcher
from roughfed.tiers import Ranges
from roughfed.training import Turn
from roughfed.types import Spec
from roughfed.upload_format import Sending

log = logging.getLogger(__name__)

KEY = "defence.root"
LOOKED_AT = 64
"""Rounds that are asked how many steps clients take: a run may have thousands, and this is looked up in each."""

MOST_EPOCHS = 50
"""Passes over the server's examples for each pass of a client over its own: behind masks one client can claim a million
examples, and the server must neither train for hours nor make an update as long as that."""


class NoRoot(RoundError):
    """The server's own update could not be made, and the defence does not work without it."""

    reason = "no-root"


# -- before the first round --------------------------------------------------------------------------------------------


async def prepare(ctx: ServerContext, whole: Spec) -> None:
    """Set the server's own examples aside: what the root update is made of is never evaluated on.

    Args:
        ctx: the server.
        whole: the worker's model.

    Raises:
        ConfigError: the rule needs them and there are none; or the server has no data, too few, or not the whole model.
    """
    root, rule = ctx.config.defence.root, ctx.defence.rule
    if ROOT in rule.needs and not root:
        cause = f'"{ctx.defence.name}" holds updates against one that the server makes of its own examples'
        raise ConfigError(cause, key=KEY, cure="say of how many, for example root = 100 in [defence]")
    if not root or ctx.worker is None:
        return
    if ctx.spec != whole:
        cause = "the server has no whole model to train: tensors stay with the clients, or control variates travel"
        raise ConfigError(cause, key=KEY, cure="remove it, or model.private and scaffold")
    try:
        counts = await ctx.worker.root_counts()
    except TrainerError as error:
        raise ConfigError(f"the server's data cannot be used: {error}", key=KEY, cure="remove it") from error
    ctx.worker.hold_out(shares(counts, root), seed=derive(ctx.config.federation.seed, "root"))


def shares(counts: Sequence[int], root: int) -> tuple[int, ...]:
    """How many examples of each class make the root set.

    Args:
        counts: the server's examples of each class; one number where there are no classes.
        root: N, how many are wanted.

    Returns:
        C numbers that differ by 1 at most and add up to N; 0 for a class that the data do not have.

    Raises:
        ConfigError: no data, fewer wanted than there are classes, or nothing of a class left to evaluate on.
    """
    present = [at for at, count in enumerate(counts) if count]
    if not present:
        cause = f"root = {root}, and the server has no data of its own"
        raise ConfigError(cause, key=KEY, cure="give the Client in the app of model.app data as test=, or remove it")
    if root < len(present):
        cause = f"{root} examples are too few for {len(present)} classes"
        raise ConfigError(cause, key=KEY, cure=f"write {len(present)} or more")
    each, more = divmod(root, len(present))
    taken = [0] * len(counts)
    for place, at in enumerate(present):
        taken[at] = each + (place < more)
    fewest = min(present, key=lambda at: counts[at] - taken[at])
    if counts[fewest] <= taken[fewest]:
        of_class = f" of class {fewest}" if len(counts) > 1 else ""
        least = (min(counts[at] for at in present) - 1) * len(present)
        cause = f"the server has {counts[fewest]} examples{of_class}: {taken[fewest]} of them leave none to evaluate on"
        cure = f"write {least} or less" if least >= len(present) else "give the server more data, or remove it"
        raise ConfigError(cause, key=KEY, cure=cure)
    return tuple(taken)


def sweep(ctx: ServerContext, row: RoundRow | None) -> None:
    """Delete the files of rounds that are over."""
    open_round = row.round if row is not None and row.outcome is None else 0
    for path in _folder(ctx).glob("*"):
        if not path.name.startswith(f"{open_round:08d}-") or path.suffix:
            path.unlink()


# -- in a round --------------------------------------------------------------------------------------------------------


def begin(ctx: ServerContext, round_: RoundState) -> None:
    """Start making what the rule asks for, beside the clients' training."""
    if round_.references.making is None and asked(ctx):
        round_.references.making = asyncio.create_task(_make(ctx, round_))


async def ready(ctx: ServerContext, round_: RoundState) -> dict[str, Path]:
    """The files of the extra rows that there are, bare float32 [D] each, by name.

    Raises:
        NoRoot: the rule needs the server's own update, and it could not be made.
        StorageError: the disk refused.
    """
    begin(ctx, round_)
    if round_.references.making is not None:
        round_.references.files = await round_.references.making
    return round_.references.files


async def forget(ctx: ServerContext, round_: RoundState) -> None:
    """The round is over: stop what is still being made, and delete the files."""
    making, round_.references.making, round_.references.files = round_.references.making, None, {}
    if making is not None:
        making.cancel()
        with suppress(asyncio.CancelledError, RoundError):  # told already, if anybody wanted to know
            await making
    retire(_path(ctx, round_.row, PREVIOUS), _spare(ctx))
    for name in (ROOT, PREVIOUS):
        start = _path(ctx, round_.row, name).name
        for path in _folder(ctx).glob("*"):  # any other pattern would stay behind, compiled, one a round
            if path.name.startswith(start):  # its parts for tiers of clients, too
                path.unlink(missing_ok=True)


def asked(ctx: ServerContext) -> frozenset[str]:
    """Names of the rows that somebody goes by, as far as the settings provide for them."""
    rule = ctx.defence.rule
    wanted = rule.wants | rule.needs
    if ctx.config.contribution.watches(ctx.config.privacy.server_sees):  # free-riders send the last step
        wanted |= {PREVIOUS}
    return wanted if ctx.config.defence.root else wanted - {ROOT}


def claims_of(files: Mapping[str, Path], masking: Masking, sketcher: Sketcher) -> dict[str, NDArray[np.float64]]:
    """What the extra rows' sketches claim, float64 [dim] by name: clipped, encoded and sketched as a client's are.

    Of a tier of clients that trains some tensors, these alone.
    """
    return {
        name: sketch_of_update(_within(_row(path), masking.ranges), masking.params, sketcher)
        for name, path in sorted(files.items())
    }


def parts_of(files: Mapping[str, Path], sending: Sending) -> dict[str, Path]:
    """The extra rows as a tier of clients sends its updates, in files beside them, bare float32 [k]."""
    found: dict[str, Path] = {}
    for name, path in files.items():
        found[name] = part = path.with_name(f"{path.name}.{sending.tier}")
        if not part.exists():
            taken = sending.taken(_within(_row(path), sending.ranges))
            write_durably(part, memoryview(taken.astype("<f4")).cast("B"), mode=0o600, sync=False)
    return found


def _within(row: Flat, ranges: Ranges) -> Flat:
    return row if ranges == ((0, len(row)),) else np.concatenate([row[start:stop] for start, stop in ranges])


async def _make(ctx: ServerContext, round_: RoundState) -> dict[str, Path]:
    files: dict[str, Path] = {}
    _folder(ctx).mkdir(exist_ok=True, mode=0o700)
    if PREVIOUS in asked(ctx) and await asyncio.to_thread(_write_last_step, ctx, round_):
        files[PREVIOUS] = _path(ctx, round_.row, PREVIOUS)
    if ROOT in asked(ctx) and await _train_root(ctx, round_):
        files[ROOT] = _path(ctx, round_.row, ROOT)
    return files


def _write_last_step(ctx: ServerContext, round_: RoundState) -> bool:
    """Base of the round minus the version before it; whether there is one (unless somebody took the file)."""
    header, path = round_.header, _path(ctx, round_.row, PREVIOUS)
    before = ctx.store.lineage.base_of(header.model_version)
    if path.exists() or before is None:
        return path.exists()
    if not (old := ctx.store.model_path(before.digest)).exists():
        log.warning("round %d: the model before version %d is gone, and its step", round_.number, header.model_version)
        return False
    ours, theirs = read_flat(ctx.store.model_path(header.model_digest)), read_flat(old)
    fresh = path.with_suffix(".new")
    step = written_over(fresh, _spare(ctx), ctx.spec.size_bytes).view("<f4")
    np.subtract(ours, theirs, out=step)
    with disk_errors("keep the last step"):
        fresh.replace(path)
    return True


async def _train_root(ctx: ServerContext, round_: RoundState) -> bool:
    """The server's own update; whether there is one.

    An empty file says that it could not be made: a rule that can do without is asked the same way after a restart.
    """
    path, header = _path(ctx, round_.row, ROOT), round_.header
    if path.exists():
        return path.stat().st_size > 0
    fresh = path.with_suffix(".new")
    rounds = max(ctx.config.round.rounds, round_.number)
    made = ctx.worker is not None and await ctx.worker.fit_root(
        ctx.store.model_path(header.model_digest),
        fresh,
        settings=trainer_settings(ctx),
        seed=derive(ctx.config.federation.seed, "root", round_.number),
        turn=Turn(round_.number, rounds, ctx.run, facts=round_.row.facts, allow_memory=False),
        steps=usual_steps(ctx, round_.number),
    )
    if not made:
        if ROOT in ctx.defence.rule.needs:
            raise NoRoot(f"round {round_.number}: the server's own update could not be made")
        await asyncio.to_thread(write_durably, path, b"", mode=0o600)
        return False
    await asyncio.to_thread(place_durably, fresh, path)
    return True


def usual_steps(ctx: ServerContext, number: int) -> int:
    """Steps of a client in a round, about: the server takes as many, so that its update is about as long as theirs.

    In the clear the median of what the last accepted clients said; masked, what their mean number of examples makes,
    and no more than `MOST_EPOCHS` times the steps that the server's own make: the sum is as large as one client likes.
    0 as long as nobody has counted: then the server goes by `trainer.epochs` of its own few examples.
    """
    settings = ctx.config.trainer
    for each in ctx.store.committed(before=number, most=LOOKED_AT):
        received = ctx.store.receipts(ctx.run, each.round)
        said = [u.statement.num_steps for name, u in received.items() if (each.sets or {}).get(name) == ACCEPTED]
        if any(said):
            return int(statistics.median_low(said))
    for each in ctx.store.rounds(until=min(number - 1, LOOKED_AT)):
        if each.outcome == "committed" and (examples := (each.sums.get("examples") or (0,))[0]) and each.accepted:
            own = math.ceil(ctx.config.defence.root / settings.batch_size)
            theirs = math.ceil(examples / len(each.accepted) / settings.batch_size)
            steps = settings.epochs * min(theirs, MOST_EPOCHS * own)
            return min(steps, settings.max_steps) if settings.max_steps else steps
    return 0


def _row(path: Path) -> Flat:
    return np.memmap(path, dtype="<f4", mode="r")


def _spare(ctx: ServerContext) -> Path:
    """A last step that is not needed any more, to be written over."""
    return spare_of(ctx.store.folder, "step")


def _folder(ctx: ServerContext) -> Path:
    return ctx.store.folder / "extras"


def _path(ctx: ServerContext, row: RoundRow, name: str) -> Path:
    return _folder(ctx) / f"{row.round:08d}-{name.lstrip('*')}"
