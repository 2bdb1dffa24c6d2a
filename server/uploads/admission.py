"""Admission: what is refused in the clear before any arithmetic.

Every refusal has a reason (a metric label), a sentence, and reaches the client.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from roughfed.errors import RemoteProtocolError, TooLarge
from roughfed.secagg.adverts import FULL
from roughfed.secagg.statistics import KINDS, exceeds
from roughfed.types import UpdateStatement

MAX_EXAMPLES = 2**40
"""More examples than any client holds: a claim beyond it is an attack or a bug, not a number to be capped."""

MAX_NORM_RATIO = 1e4
FEWEST_NORMS = 3
MAGNITUDE = "magnitude"
"""Why an update is left out that `absurd` names."""

REVOKED = "revoked"
"""Why one is that came before its client's certificate was revoked."""


def check_statement(
    statement: UpdateStatement, *, client: str, header_digest: bytes, size_bytes: int, exact: bool = True
) -> None:
    """Hold a signed statement against the round that it claims to be for.

    Args:
        statement: what the client signed.
        client: the name in its certificate.
        header_digest: of the open round.
        size_bytes: length of an update of this round.
        exact: whether it has just that length, or at most.

    Raises:
        RemoteProtocolError: another client's name, another header, another size, an absurd count.
    """
    if statement.client != client:
        raise RemoteProtocolError(
            f"the statement is {statement.client[:63]!r}'s, the certificate {client!r}'s", reason="identity"
        )
    if statement.header_digest != header_digest:
        raise RemoteProtocolError("the statement is bound to another round header", reason="header")
    if statement.size_bytes > size_bytes:
        raise TooLarge(f"{statement.size_bytes} bytes announced, an update has {size_bytes}")
    if exact and statement.size_bytes < size_bytes:
        raise RemoteProtocolError(
            f"{statement.size_bytes} bytes announced, an update has {size_bytes}", reason="schema"
        )


def check_tier(statement: UpdateStatement, tier: str) -> None:
    """A client takes part as the tier that it named at hello.

    Raises:
        RemoteProtocolError: reason "class"; its statement names another one.
    """
    if statement.tier != tier:
        said, known = statement.tier[:63], tier
        raise RemoteProtocolError(f"the statement is of tier {said!r}, the client of {known!r}", reason="class")


def check_counts(statement: UpdateStatement, *, masked: bool) -> None:
    """What a client says about its training; when masked, nothing: it would be its own in the clear.

    Raises:
        RemoteProtocolError: no examples or absurdly many; when masked, a word about them.
    """
    if masked:
        counts = (statement.num_examples, statement.num_steps, statement.train_seconds)
        said = (*counts, statement.metrics, statement.statistics, statement.quarters != FULL)
        if any(said) or {statement.evaluation, statement.personal, statement.alone} != {None}:
            raise RemoteProtocolError("a masked update comes with counts or metrics in the clear", reason="count")
    elif not 0 < statement.num_examples <= MAX_EXAMPLES:
        raise RemoteProtocolError(f"num_examples is {statement.num_examples}", reason="count")


def check_said(statement: UpdateStatement, asked: Collection[str], *, self_weight: bool) -> None:
    """Weight class and statistics in the clear: nothing that the round did not offer or ask for.

    Raises:
        RemoteProtocolError: another weight than 1 where none was offered, a statistic that was not asked for, or more
            of one than a client has.
    """
    if statement.quarters != FULL and not self_weight:
        raise RemoteProtocolError(f"weight {statement.quarters}/4 was not offered", reason="weight")
    for name, values in statement.statistics.items():
        if f"{name}:{len(values)}" not in asked:
            raise RemoteProtocolError(f"{len(values)} values of {name} were not asked for", reason="statistics")
        if exceeds(values, KINDS[name]):
            raise RemoteProtocolError(f"the values of {name} are more than one client's", reason="statistics")


def absurd(norms: Mapping[str, float]) -> set[str]:
    """Whose update is so long that it can only be a bug or an attack: more than 1e4 times the median.

    Coarser than any defence, which is what finds the merely suspicious: one such vector would drown all the others.

    Args:
        norms: L2 norm of every received update by client. Updates of nothing but zeros say nothing of the scale.

    Returns:
        clients to leave out (reason "magnitude"); nobody while fewer than 3 norms are there to compare.
    """
    scales = [norm for norm in norms.values() if norm > 0]
    if len(scales) < FEWEST_NORMS:
        return set()
    limit = MAX_NORM_RATIO * statistics.median(scales)
    return {client for client, norm in norms.items() if norm > limit}


def check_alignment(data: memoryview) -> None:
    """A chunk holds whole floats.

    Raises:
        RemoteProtocolError: its length is not a multiple of 4 bytes.
    """
    if len(data) % 4:
        raise RemoteProtocolError(f"a chunk of {len(data)} bytes cuts a float in two", reason="schema")


@dataclass
class Vitals:
    """Running figures of one update, taken while it streams past.

    Attributes:
        sq_norm: sum of squares so far, float64.
        finite: False as soon as a NaN or an infinity was seen.
    """

    sq_norm: float = 0.0
    finite: bool = True

    def see(self, data: memoryview) -> None:
        """Take one piece; its length is a multiple of 4 bytes (`check_alignment`)."""
        values = np.frombuffer(data, dtype="<f4")
        with np.errstate(all="ignore"):  # what overflows or is no number is what we look for
            piece = float(np.dot(values, values))
            if not math.isfinite(piece):  # a NaN, an infinity, or squares beyond float32: look closer
                wide = values.astype(np.float64)
                piece = float(np.dot(wide, wide))
                self.finite = self.finite and math.isfinite(piece)
        self.sq_norm += piece if math.isfinite(piece) else 0.0

    @property
    def norm(self) -> float:
        """L2 norm, float64."""
        return math.sqrt(self.sq_norm)

    def check(self) -> None:
        """Judge the whole.

        Raises:
            RemoteProtocolError: a value is not finite.
        """
        if not self.finite:
            raise RemoteProtocolError("the update has values that are NaN or infinite", reason="not-finite")
