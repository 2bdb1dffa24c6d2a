"""client.toml: when a client takes part, and how much of a training it can do."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, Field

from roughfed.config.values import STRICT, Duration, Words, refuse, show
from roughfed.windows import Schedule, parse, zone_clock


def _windows(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        try:
            parse(text)
        except ValueError as error:
            refuse(f"{show(text)}: {error}", 'Write "22:00-06:00", "Sat 00:00-24:00" or "Mon-Fri 18:00-08:00".')
    if len(value) > 64:
        refuse(f"There are {len(value)} windows.", "Write at most 64.")
    return value


def _zone(value: str) -> str:
    try:
        zone_clock(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        refuse(
            f"{show(value)} is no time zone that this machine knows.",
            'Write a name such as "Europe/Berlin", "UTC", or "" for the machine\'s own.',
        )
    return value


Windows = Annotated[
    tuple[str, ...],
    Field(strict=False),  # TOML has lists, no tuples
    AfterValidator(_windows),
    Words("list of windows of hours", show),
]
Zone = Annotated[str, AfterValidator(_zone), Words("name of a time zone", show)]


class Participate(BaseModel):
    """When this client takes part. Outside these hours it leaves, and comes back by itself."""

    model_config = STRICT

    windows: Windows = Field(
        default=(),
        description='Hours in which the client takes part, such as "22:00-06:00", "Sat 00:00-24:00" or "Mon-Fri '
        '18:00-08:00" (docs/heterogeneity.md); none = always.',
    )
    timezone: Zone = Field(default="", description="Time zone of the windows; empty = this machine's.")
    overrun: Duration = Field(
        default=300.0,
        description="Time by which a round that was begun in a window may end after it; jobs with a later deadline "
        "are refused.",
    )
    max_load: float = Field(
        default=0.0,
        ge=0,
        description="Load of this machine (mean of a minute, for each core) above which the client sits rounds out; "
        "0 = any.",
    )
    on_battery: bool = Field(default=True, description="Take part while this machine runs on its battery.")

    def schedule(self) -> Schedule:
        """The windows, by the clock of their time zone."""
        return Schedule(tuple(map(parse, self.windows)), zone_clock(self.timezone))


class Limits(BaseModel):
    """The most that one training of this client may take; the job's settings are lowered to it."""

    model_config = STRICT

    epochs: int = Field(default=0, ge=0, le=10_000, description="Most passes over the local data; 0 = the job's.")
    batch_size: int = Field(default=0, ge=0, le=1_000_000, description="Most examples in one step; 0 = the job's.")
    max_steps: int = Field(default=0, ge=0, description="Most steps in one round; 0 = the job's.")

    def lowered(self, settings: dict[str, object]) -> dict[str, object]:
        """Learning settings within these limits: the three numbers are lowered where they are above, and nothing else.

        Args:
            settings: by name, as in [trainer].

        Returns:
            those that change, by name.
        """
        found: dict[str, object] = {}
        for name in ("epochs", "batch_size", "max_steps"):
            most, asked = getattr(self, name), settings[name]
            if most and isinstance(asked, int) and (asked > most or not asked):  # max_steps = 0 asks for no limit
                found[name] = most
        return found
