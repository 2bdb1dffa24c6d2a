"""A round in the clear: what its intake demands of each class's payloads, its rows for the defence, and its mean.

Where clients are of several classes, each class is judged and averaged over what it sends, and the means are merged
coordinate by coordinate (`roughfed.classes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed.classes import STANDARD, Mean, completed, loudness, merged
from roughfed.codec import CODECS
from roughfed.params import Flat
from roughfed.sending import Sending, sendings_of
from roughfed.server import extras
from roughfed.server.aggregate import WEIGHTINGS, weighed
from roughfed.server.defence import View, view_of_files
from roughfed.server.fair_round import fair_weights, shortened
from roughfed.server.figures import accepted_updates
from roughfed.server.incentive.watching import Payloads
from roughfed.server.payload import OpenRound
from roughfed.server.robust import combined
from roughfed.server.spool import opened, weighted_mean
from roughfed.server.store import ReceivedUpdate
from roughfed.wire.session import decode_header

if TYPE_CHECKING:
    from roughfed.server.federation import Federation
    from roughfed.server.store import RoundRow


def taking(fed: Federation, row: RoundRow) -> OpenRound:
    """What the intake demands of the updates of a round, masked or not, of each class."""
    header = decode_header(row.header.body)
    first = OpenRound(
        fed.run,
        row.round,
        row.header.digest,
        0,
        fed.open_members,
        header.codec,
        header.masked,
        fed.spec.size,
        fed.config.trainer.self_weight,
        header.statistics,
        seats=fed.open_classes,
        num_classes=fed.num_classes,
    )
    if fed.masked is not None:
        demands = {m.client_class: replace(first, size_bytes=m.upload_bytes) for m in fed.masked.maskings}
    else:
        demands = {
            name: replace(first, codec=s.codec, num_params=s.size, size_bytes=CODECS[s.codec].max_bytes(s.size))
            for name, s in sendings(fed, row).items()
        }
    return replace(demands.pop(STANDARD), classes=demands)


def sendings(fed: Federation, row: RoundRow) -> dict[str, Sending]:
    """What each class of a round sends, by name."""
    return sendings_of(row.header.digest, decode_header(row.header.body), fed.spec)


async def views_of(fed: Federation, row: RoundRow, received: Mapping[str, str]) -> dict[str, View]:
    """The rows of each class, for the defence.

    Args:
        fed: the federation.
        row: the round.
        received: client -> class, of whoever sent an update that may count.
    """
    own = await extras.ready(fed, row)
    views: dict[str, View] = {}
    sent = sendings(fed, row)
    for name, payloads in payloads_of(fed, row, received).items():
        rows = own if payloads.size == fed.spec.size else extras.parts_of(own, sent[name])
        views[name] = view_of_files(payloads.paths, size=payloads.size, codec=payloads.codec, extras=rows)
    return views


def payloads_of(fed: Federation, row: RoundRow, received: Mapping[str, str]) -> dict[str, Payloads]:
    """The files of the updates of each class that sent any; `received` as in `views_of`."""
    found: dict[str, Payloads] = {}
    for name, sending in sendings(fed, row).items():
        paths = {c: fed.intake.spool_path(fed.run, row.round, c) for c, place in received.items() if place == name}
        if paths:
            found[name] = Payloads(paths, sending.codec, sending.size)
    return found


@contextmanager
def mean_of_updates(fed: Federation, row: RoundRow, weighting: str) -> Iterator[Mean]:
    """The mean of the accepted updates, to be read slice by slice."""
    header = decode_header(row.header.body)
    accepted = accepted_updates(fed, row)
    if fed.verdict is not None and (how := fed.verdict.combine) is not None:
        with ExitStack() as stack:
            paths = {u.receipt.client: _path(fed, row, u) for u in accepted}
            rows = {
                name: stack.enter_context(opened(path, codec=header.codec, size=fed.spec.size, work=fed.work))
                for name, path in paths.items()
            }
            own = {
                name: stack.enter_context(opened(path, codec="identity", size=fed.spec.size))
                for name, path in fed.extras.files.items()
            }
            yield combined(how, rows | own)
        return
    weights, length = fair_weights(
        fed, header, accepted, weighed([u.statement for u in accepted], WEIGHTINGS[weighting])
    )
    with ExitStack() as stack:
        means: list[tuple[Sending, Mean, float]] = []
        for name, sending in sendings(fed, row).items():
            chosen = [
                (_path(fed, row, u), weight)
                for u, weight in zip(accepted, weights, strict=True)
                if u.statement.client_class == name
            ]
            if total := sum(weight for _, weight in chosen):
                mean = weighted_mean(chosen, codec=sending.codec, size=sending.size, work=fed.work)
                means.append((sending, stack.enter_context(mean), total))
        yield shortened(merged_means(means, fed.spec.size), length)


def merged_means(means: Sequence[tuple[Sending, Mean, float]], size: int) -> Mean:
    """The means of the classes as one update.

    Args:
        means: of each class that has a mean: what it sends, the mean of that, its clients' weights added up.
        size: D.
    """
    by_tensors: dict[tuple[str, ...], list[tuple[Sending, Mean, float]]] = {}
    for one in means:
        by_tensors.setdefault(one[0].tensors, []).append(one)
    parts = [
        (_of_same_tensors(same), sum(weight for _, _, weight in same), same[0][0].ranges)
        for same in by_tensors.values()
    ]
    return merged(parts, size)


def _of_same_tensors(means: Sequence[tuple[Sending, Mean, float]]) -> Mean:
    total = sum(weight for _, _, weight in means)
    base = next((mean for sending, mean, _ in means if sending.places is None), None)
    subsets = [
        (mean, s.places, weight / total if base is None else loudness(s.keep_one_in, weight / total))
        for s, mean, weight in means
        if s.places is not None
    ]
    if base is None:  # nobody sent all of it: a subset alone is no difference to scale up
        return completed(_zeros, subsets)
    return completed(base, subsets) if subsets else base


def _zeros(start: int, stop: int) -> Flat:
    return np.zeros(stop - start, dtype=np.float32)


def _path(fed: Federation, row: RoundRow, update: ReceivedUpdate) -> Path:
    return fed.intake.spool_path(fed.run, row.round, update.receipt.client)
