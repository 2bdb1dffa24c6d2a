"""The time of a test: asked for when it runs, for the suite may take longer than what is measured from it."""

from datetime import UTC, datetime


def present() -> datetime:
    """The time now, UTC."""
    return datetime.now(UTC)
