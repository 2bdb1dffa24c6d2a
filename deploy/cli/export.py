"""`roughfed export`: a version of the model as a file for other programs."""

from __future__ import annotations

import asyncio
import shutil
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError, StorageError
from roughfed.extras import need

if TYPE_CHECKING:
    from roughfed.server.storage.store import Store
    from roughfed.types import Spec


LOAD = (
    "load it with model.load_state_dict(torch.load('{out}', weights_only=True), strict=False): integer buffers (step "
    "counters) and the second names of tied tensors are not in it, and a model without these loads it strictly"
)
"""The run's Spec does not know these names: they are no part of what is averaged."""

PART = "it is what was trained; the {frozen:,} parameters under it are frozen: --merged writes the whole model"


class Format(StrEnum):
    """How the file is written."""

    SAFETENSORS = "safetensors"
    STATE_DICT = "state-dict"


@dataclass(frozen=True, slots=True)
class ExportFlags:
    """Which version, where to, and how."""

    out: Annotated[Path, typer.Option(help="The file to write; an existing one is replaced.")]
    initial: Annotated[
        bool,
        typer.Option(
            "--initial",
            help="Not of a run: the weights that this fed.toml begins with, and what the model is, for a "
            "server without torch (model.init).",
        ),
    ] = False
    version: Annotated[str, typer.Option(metavar="N|best|latest", help="Which version of the model.")] = "latest"
    format: Annotated[
        Format,
        typer.Option(help="safetensors, or state-dict for torch: floats only, each once; load it with strict=False."),
    ] = Format.SAFETENSORS
    merged: Annotated[
        bool,
        typer.Option(
            "--merged",
            help="The whole model where a run has a frozen base: its tensors, and adapters added to their layers' "
            "weights (W + alpha / rank B A).",
        ),
    ] = False
    cluster: Annotated[
        str, typer.Option(metavar="N", help="Whose model, where there are clusters; 0 is the default one.")
    ] = "0"
    client: Annotated[
        str,
        typer.Option("--for", metavar="CLIENT", help="In the quality that the ledger gives this client ([reward])."),
    ] = ""
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="The model that the server finished from sums (trainer.calibrate).")
    ] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "export", flags=ExportFlags)(export)


def export(context: CommandContext, flags: ExportFlags) -> Answer:
    """Write a version of the model to a file.

    Also while the server runs. With --initial, the weights before any run.
    """
    if flags.initial:
        return export_initial(context, flags)
    if flags.format is Format.STATE_DICT:
        need("torch", who="--format state-dict")
    from roughfed.deploy.cli.export_for import given_model, quality_of
    from roughfed.deploy.summary import open_store
    from roughfed.server.model.frozen import base_of
    from roughfed.shared_tensors import has_controls, model_part

    with closing(open_store(context.folder)) as store:
        if (known := store.run()) is None:
            raise ConfigError("no run was started here", file=str(context.folder.absolute()), cure="roughfed server")
        wanted = flags.version
        version, digest = finished(store, wanted) if flags.calibrated else chosen(store, wanted, flags.cluster)
        source = store.model_path(digest)
        spec, base = model_part(known[1]), base_of(store)
        quality = quality_of(store, flags.client, version) if flags.client else 1.0
        with given_model(store, source, spec, quality, flags.out) as file:
            if flags.merged:
                spec = write_merged(store, file, flags, spec)
            else:
                write(file, flags, spec, bare=file != source or flags.calibrated or not has_controls(known[1]))
    context.say(f"wrote {flags.out}: version {version} of {known[0]}, {spec.size:,} parameters")
    if flags.client:
        context.say(f"of quality {quality:g}, which is what the ledger gives {flags.client}")
    if base is not None and not flags.merged:
        context.note(PART.format(frozen=base.spec.size), style="dim")
    if flags.format is Format.STATE_DICT:
        context.note(LOAD.format(out=flags.out), style="dim")
    return Answer(
        {
            "run": known[0],
            "version": version,
            "model_digest": digest.hex(),
            "cluster": flags.cluster,
            "calibrated": flags.calibrated,
            "for": flags.client,
            "quality": quality,
            "merged": flags.merged,
            "format": flags.format.value,
            "out": str(flags.out.absolute()),
        }
    )


def export_initial(context: CommandContext, flags: ExportFlags) -> Answer:
    """Write what a server without torch begins with.

    Raises:
        ConfigError: another flag beside it, settings are wrong, or there is no torch.
        TrainerError: the app does not load.
    """
    from roughfed.deploy import aggregator, model_file
    from roughfed.deploy.cli.processes import worker_command

    if flags != ExportFlags(flags.out, initial=True):
        raise ConfigError("--initial is of no run", key="--initial", cure="leave out all flags but --out")
    config = aggregator.load(context.folder, {})
    if config.model.file_alone:
        cause = "fed.toml names the model's file and no program of it"
        raise ConfigError(cause, key="model.init", cure="write app, or name with [data], and no init")
    command_line = worker_command(context.folder, config)
    size = asyncio.run(model_file.write(command_line, flags.out, seed=config.federation.seed))
    context.say(f"wrote {flags.out}: {size:,} parameters; at the server: model.init, without model.app and model.name")
    return Answer({"out": str(flags.out.absolute()), "parameters": size})


def chosen(store: Store, wanted: str, cluster: str = "0") -> tuple[int, bytes]:
    """(version, digest) of N, or of a cluster's `best` or `latest`.

    Raises:
        ConfigError: no such cluster or version, or its file was not kept.
    """
    from roughfed.server.model.retention import Quality

    versions, clusters = dict(store.versions()), store.lineage.clusters()
    if cluster not in clusters:
        raise ConfigError(f"there is no cluster {cluster!r}", key="--cluster", cure=f"one of: {', '.join(clusters)}")
    if wanted == "best":
        number = Quality(store).best(cluster)
        if number is None:
            raise ConfigError("no version was evaluated, so none is the best", key="--version", cure="--version latest")
    else:
        newest = store.lineage.head(cluster).version
        number = newest if wanted == "latest" else int(wanted) if wanted.isdecimal() else -1
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
    from roughfed.server.model.calibrated import newest

    found = newest(store)
    if found is None or not store.model_path(found.digest).exists():
        cure = 'set calibrate = "ccvr" in [trainer] before the run'
        raise ConfigError("no calibrated model was made in this run", key="--calibrated", cure=cure)
    if wanted not in ("latest", str(found.version)):
        cure = f"--version {found.version}, or leave it out"
        raise ConfigError(f"only version {found.version} was calibrated, not {wanted!r}", key="--version", cure=cure)
    return found.version, found.digest


def write(source: Path, flags: ExportFlags, spec: Spec, *, bare: bool = True) -> None:
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


def write_merged(store: Store, source: Path, flags: ExportFlags, spec: Spec) -> Spec:
    """Write what was trained together with the frozen base, adapters added to the weights of their layers.

    Args:
        store: the server's, with the base.
        source: a model file of the run.
        flags: where to, and how.
        spec: of what was trained.

    Returns:
        the Spec of the file: every tensor of the model that the server has.

    Raises:
        ConfigError: the run has no frozen base.
        StorageError: the base is gone or damaged, or the disk refused.
    """
    import numpy as np

    from roughfed.adapters import merged
    from roughfed.params import read_flat, unflatten, write_model
    from roughfed.server.model.frozen import FILE, base_of, check_file
    from roughfed.types import Spec

    if (base := base_of(store)) is None:
        raise ConfigError("all of the model was trained in this run", key="--merged", cure="leave it out")
    check_file(store.folder, base)
    frozen = unflatten(read_flat(store.folder / FILE), base.spec)
    whole = merged(frozen, unflatten(read_flat(source)[: spec.size], spec), base.scale)
    rows = Spec(tuple(t for t in (*base.spec.tensors, *spec.tensors) if t.name in whole))
    beside = flags.out.with_name(flags.out.name + ".whole")
    try:
        write_model(beside, rows, (np.ascontiguousarray(whole[t.name]) for t in rows.tensors))
        write(beside, flags, rows)
    finally:
        beside.unlink(missing_ok=True)
    return rows


def save_state_dict(source: Path, target: Path, spec: Spec) -> None:
    """The tensors by name, in the model's order and types; see `LOAD` for what is not among them."""
    import safetensors.torch as safetensors
    import torch

    tensors = safetensors.load_file(source)
    ordered = OrderedDict((t.name, tensors[t.name].to(getattr(torch, t.dtype))) for t in spec.tensors)
    torch.save(ordered, target)
