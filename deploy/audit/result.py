"""What an audit found: plain values, written as JSON into the federation's directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from roughfed.deploy.audit.regression import Curve
from roughfed.deploy.audit.trials import Inversion, Picture
from roughfed.errors import ConfigError
from roughfed.files import disk_errors

FILE = "audit.json"


@dataclass(frozen=True)
class AuditResult:
    """The figures of an audit.

    Attributes:
        data: the images that were attacked.
        model: the model whose gradients were.
        dim: numbers in a sketch.
        group: clients in the sum.
        trials: over which the figures are medians.
        clients: of the regressions.
        warning: what to mind; empty: nothing.
        inversions: gradient inversion, by batch, mode and attacker.
        pictures: images of one trial.
        statics: regression on a value that never changes.
        habits: regression on the clients' mean updates.
    """

    data: str
    model: str
    dim: int
    group: int
    trials: int
    clients: int
    warning: str
    inversions: list[Inversion]
    pictures: list[Picture]
    statics: list[Curve]
    habits: list[Curve]

    def to_json(self) -> str:
        """JSON text."""
        return TypeAdapter(AuditResult).dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes, *, file: str = "") -> AuditResult:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: not JSON, or a field is missing or of the wrong type; says which.
        """
        try:
            return TypeAdapter(AuditResult).validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigError(first["msg"], file=file, key=key, cure="run roughfed audit again") from error


def read_audit(folder: Path) -> AuditResult | None:
    """The audit that lies in a directory; None when there is none.

    Raises:
        ConfigError: the file is not that of an audit.
        StorageError: it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    with disk_errors(f"read {path}"):
        text = path.read_bytes()
    return AuditResult.from_json(text, file=str(path))
