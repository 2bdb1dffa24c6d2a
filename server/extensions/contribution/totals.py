"""What is known of the contributions of a run while it goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from roughfed.server.extensions.contribution.method import NOTHING, ScoringMethod, State


@dataclass
class Contributions:
    """The scores of a run.

    Attributes:
        name: of the method; "" where nothing is scored.
        method: its row.
        utilities: as in `Case`.
        state: what the judged rounds left.
        scoring: the round that is being scored.
        skipped: number of a round -> why it is not judged; until its summary says so.
    """

    name: str = ""
    method: ScoringMethod | None = None
    utilities: tuple[str, ...] = ()
    state: State = field(default_factory=lambda: NOTHING)
    scoring: asyncio.Task[None] | None = None
    skipped: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def busy(self) -> bool:
        """Whether a round is being scored."""
        return self.scoring is not None and not self.scoring.done()

    @property
    def wants_groups(self) -> bool:
        """Whether sums of groups must be kept apart."""
        return self.method is not None and "groups" in self.method.sees
