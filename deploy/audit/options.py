"""What is asked of an audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from roughfed.data.fashion_mnist import DEBIAN_FOLDER, find_folder
from roughfed.errors import ConfigError

BATCHES = (1, 8)
"""Images in the one batch that a client learns from: one is the worst case, eight is still a very small batch."""

CLOSE = 4
"""A sketch of more than a quarter of the unknowns is not well under them."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What is attacked, and how long.

    Attributes:
        data: listed images; empty: fashion-mnist where its files are, else digits.
        data_dir: folder of the data's files.
        model: listed model; one with a dense first layer is the worst case.
        dim: numbers in a sketch.
        group: clients of the group whose sum is seen.
        images: trials, each with other images, weights and seeds; figures are medians over them.
        steps: iterations of an attack.
        clients: clients of the regression over rounds.
        rounds: rounds of the regression.
        seed: of everything.
    """

    data: str = ""
    data_dir: Path | None = None
    model: str = "mlp"
    dim: int = 128
    group: int = 8
    images: int = 3
    steps: int = 60
    clients: int = 32
    rounds: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be attacked.

        Raises:
            ConfigError: an odd or tiny sketch, or a group that no round would have.
        """
        if self.dim < 2 or self.dim % 2:
            raise ConfigError(f"a sketch of {self.dim} numbers", key="--dim", cure="choose an even number, as 128")
        if not 4 <= self.group <= 20:
            raise ConfigError(f"a group of {self.group} clients", key="--group", cure="choose 4 to 20")

    @property
    def source(self) -> str:
        """The data that are attacked."""
        if self.data:
            return self.data
        return "fashion-mnist" if self.data_dir or find_folder([DEBIAN_FOLDER]) else "digits"


def warning(dim: int, unknowns: int) -> str:
    """What to say when a sketch holds nearly as many numbers as there are unknowns behind an update; else nothing."""
    if CLOSE * dim <= unknowns:
        return ""
    return (
        f"a sketch of {dim} numbers is not well under the {unknowns} unknowns behind the update of one image: expect "
        "it to give the image away; a smaller sketch.dim, or larger inputs and batches, would not"
    )
