"""`roughfed export`: a version of the model as a file for other programs."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context, command
from roughfed.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from roughfed.server.store import Store
    from roughfed.types import Spec


LOAD = (
    "load it with model.load_state_dict(torch.load('{out}', weights_only=True), strict=False): integer buffers (step "
    "counters) and the second names of tied tensors are not in it, and a model without these loads it strictly"
)
"""The run's Spec does not know these names: they are no part of what is averaged."""


class Format(StrEnum):
    """How the file is written."""

    SAFETENSORS = "safetensors"
    STATE_DICT = "state-dict"


@dataclass(frozen=True, slots=True)
class Flags:
    """Which version, where to, and how."""

    out: Annotated[Path, typer.Option(help="The file to write; an existing one is replaced.")]
    version: Annotated[str, typer.Option(metavar="N|best|latest", help="Which version of the model.")] = "latest"
    format: Annotated[
        Format,
        typer.Option(help="safetensors, or state-dict for torch: floats only, each once; load it with strict=False."),
    ] = Format.SAFETENSORS
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="The model that the server finished from sums (trainer.calibrate).")
    ] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "export", flags=Flags)(export)


def export(context: Context, flags: Flags) -> Answer:
    """Write a version of the model to a file.

    Also while the server runs.
    """
    from roughfed.deploy.summary import open_store
    from roughfed.scope import has_controls, model_part

    with closing(open_store(context.folder)) as store:
        if (known := store.run()) is None:
            raise ConfigError("no run was started here", file=str(context.folder.absolute()), cure="roughfed server")
        version, digest = finished(store, flags.version) if flags.calibrated else chosen(store, flags.version)
        source = store.model_path(digest)
        spec = model_part(known[1])
        write(source, flags, spec, bare=flags.calibrated or not has_controls(known[1]))
    context.say(f"wrote {flags.out}: version {version} of {known[0]}, {spec.size:,} parameters")
    if flags.format is Format.STATE_DICT:
        context.note(LOAD.format(out=flags.out), style="dim")
    return Answer(
        {
            "run": known[0],
            "version": version,
            "model_digest": digest.hex(),
            "calibrated": flags.calibrated,
            "format": flags.format.value,
            "out": str(flags.out.absolute()),
        }
    )


def chosen(store: Store, wanted: str) -> tuple[int, bytes]:
    """(version, digest) of N, `best` or `latest`.

    Raises:
        ConfigError: no such version, or its file was not kept.
    """
    from roughfed.server.quality import Quality

    versions = dict(store.versions())
    if wanted == "best":
        number = Quality(store).best()
        if number is None:
            raise ConfigError("no version was evaluated, so none is the best", key="--version", cure="--version latest")
    else:
        number = max(versions) if wanted == "latest" else int(wanted) if wanted.isdecimal() else -1
    if (digest := versions.get(number)) is None or not store.model_path(digest).exists():
        kept = [str(v) for v, d in versions.items() if store.model_path(d).exists()]
        why = "was not kept (model.keep_last)" if digest else "is no version of the model"
        raise ConfigError(f"{wanted!r} {why}", key="--version", cure=f"one of: {', '.join([*kept, 'best', 'latest'])}")
    return number, digest


def finished(store: Store, wanted: str) -> tuple[int, bytes]:
    """(version that it was made of, digest) of the calibrated model.

    Raises:
        ConfigError: there is none, or another version is wanted.
    """
    from roughfed.server.calibrated import newest

    found = newest(store)
    if found is None or not store.model_path(found.digest).exists():
        cure = 'set calibrate = "ccvr" in [trainer] before the run'
        raise ConfigError("no calibrated model was made in this run", key="--calibrated", cure=cure)
    if wanted not in ("latest", str(found.version)):
        cure = f"--version {found.version}, or leave it out"
        raise ConfigError(f"only version {found.version} was calibrated, not {wanted!r}", key="--version", cure=cure)
    return found.version, found.digest


def write(source: Path, flags: Flags, spec: Spec, *, bare: bool = True) -> None:
    """Write the file beside its place and move it there, so that it is whole or absent.

    Args:
        source: a model file of the run.
        flags: where to, and how.
        spec: of the model.
        bare: whether the source holds the model and nothing else; SCAFFOLD's control variates are not exported.

    Raises:
        StorageError: the disk refused.
    """
    from roughfed.params import read_flat, write_model

    if flags.format is Format.SAFETENSORS and not bare:
        write_model(flags.out, spec, [read_flat(source)[: spec.size]])
        return
    partial = flags.out.with_name(flags.out.name + ".partial")
    try:
        if flags.format is Format.SAFETENSORS:
            shutil.copyfile(source, partial)
        else:
            save_state_dict(source, partial, spec)
        partial.replace(flags.out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"cannot write {flags.out}: {error.strerror or error}") from error


def save_state_dict(source: Path, target: Path, spec: Spec) -> None:
    """The tensors by name, in the model's order and types; see `LOAD` for what is not among them."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(source)
    ordered = OrderedDict((t.name, tensors[t.name].to(getattr(torch, t.dtype))) for t in spec.tensors)
    torch.save(ordered, target)
