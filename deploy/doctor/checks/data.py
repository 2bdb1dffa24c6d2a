"""Do the app, the model and the data go through one step, and are the data what they seem?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from roughfed.client.local.learning_settings import check_app_settings
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.manifest import known_shapes
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.deploy.doctor.trainer import AGAIN, SLOW, Examined
from roughfed.errors import ConfigError, RoughfedError
from roughfed.trainer_client import Description

SHOWN_CLASSES = 20
CURES = {
    "user-code": "correct the app; roughfed join --debug shows the whole trace",
    "out-of-memory": "a smaller model or batch, or end other programs on this machine",
    "killed": "see the system's log: the kernel may have ended it for want of memory",
    "cuda": 'try device.name = "cpu"; if that works, the GPU or its driver is at fault',
}


def data(site: DoctorSite) -> Iterable[Finding]:
    """By the word of a trainer process."""
    if site.config is None:
        yield skipped("there are no settings that name an app or data")
        return
    if not _names_data(site):
        yield skipped("the settings name neither an app nor data")
        return
    if (absent := missing(site)) is not None:
        yield absent
        return
    examined = site.examined()
    if examined is None or examined.error is not None or examined.description is None or examined.found is None:
        yield broken(examined)
        return
    description = examined.description
    yield ok(f"{description.name} loads", measured=f"{description.spec.size} parameters", about="model")
    yield step(examined.found["step"])
    yield from shapes(description, known_shapes(site))
    yield from own_settings(site, description)
    for name, seen in examined.found["seen"].items():
        yield looked_at(name, seen, description.num_classes)
    yield from amounts(site, description)


def missing(site: DoctorSite) -> Finding | None:
    """An app whose file is not there; the trainer need not be started for that."""
    app = site.federation.model.app if site.federation else site.client.app.path if site.client else ""
    file = site.folder / app.rpartition(":")[0]
    if not app or file.is_file():
        return None
    key = "model.app in fed.toml" if site.federation else "app.path in client.toml"
    cure = f"put the file there, or correct {key}: FILE.py:NAME, relative to that file"
    return failure(f"there is no {file.absolute()}", measured=app, cure=cure, about="app")


def _names_data(site: DoctorSite) -> bool:
    if site.federation is not None:
        return bool(site.federation.model.app or site.federation.data.name)
    return site.client is not None and bool(site.client.app.path or site.client.data.name)


def broken(examined: Examined | None) -> Finding:
    """What the trainer stumbled over."""
    error: RoughfedError | None = examined.error if examined is not None else None
    reason = error.reason if error is not None else "killed"
    cure = getattr(error, "cure", "") or CURES.get(reason, "correct the setting or the file that it names")
    sentence = f"model and data do not load: {error}" if error is not None else "the trainer process ended"
    if reason == SLOW:
        return warning(f"model and data are not known: {error}", measured=reason, cure=AGAIN, about="app")
    return failure(sentence[:500], measured=reason, cure=cure, about="app")


def step(found: Mapping[str, Any] | None) -> Finding:
    """One batch forward and back."""
    if found is None:
        return skipped("there are no examples yet to try a step on", about="step")
    if found["loss"] is None:
        cure = "look for NaN in the inputs, for a division by zero in the model, and for far too large inputs"
        return failure("the loss of the first batch is not finite", cure=cure, about="step")
    measured = f"loss {found['loss']:.4g}"
    if not found["finite"]:
        cure = "look for operations without a gradient at 0 (sqrt, norm) in the model"
        return failure("the gradients of the first batch are not finite", measured=measured, cure=cure, about="step")
    if not found["trained"]:
        cure = "let some of the model's parameters require gradients"
        return failure("no parameter of the model gets a gradient", measured=measured, cure=cure, about="step")
    return ok("one batch goes through the model and back", measured=measured, about="step")


def shapes(description: Description, known: Mapping[str, tuple[int, ...]]) -> Iterable[Finding]:
    """The model here against the one of the federation, where that is known."""
    ours = {t.name: t.shape for t in description.spec.tensors}
    common = ours.keys() & known.keys()
    wrong = sorted(name for name in common if ours[name] != known[name])
    cure = "use the same model file as the server's fed.toml ([model]); roughfed join says what differs in full"
    if wrong:
        first = wrong[0]
        sentence = f"{first} is {list(ours[first])} here and {list(known[first])} in the federation"
        yield failure(sentence, measured=f"{len(wrong)} tensors differ", cure=cure, about="shapes")
    elif known and not common:
        yield failure("the model has no tensor in common with the federation's", cure=cure, about="shapes")
    elif common:
        yield ok("names and shapes are the federation's", measured=f"{len(common)} tensors", about="shapes")


def looked_at(name: str, seen: Mapping[str, Any], num_classes: int) -> Finding:
    """Values that are none, and labels that the model cannot give."""
    about = "training data" if name == "train" else "test data"
    measured = f"{seen['looked']} of {seen['examples']} examples looked at"
    if seen["unfinished"]:
        sentence = f"{seen['unfinished']} examples hold NaN or an infinity"
        cure = "leave them out or fill them in before the Client gets them"
        return failure(sentence, measured=measured, cure=cure, about=about)
    if seen["targets"]:
        sentence = f"{seen['targets']} targets are NaN or infinite"
        return failure(sentence, measured=measured, cure="leave these examples out", about=about)
    low, high = seen["lowest"], seen["highest"]
    if num_classes and low is not None and (low < 0 or high >= num_classes):
        sentence = f"labels go from {low} to {high}, and the model has {num_classes} classes"
        cure = f"number the classes from 0 to {num_classes - 1}, or give the model more outputs"
        return failure(sentence, measured=measured, cure=cure, about=about)
    return ok(
        "every value is finite" + (" and every label a class" if low is not None else ""),
        measured=measured,
        about=about,
    )


def own_settings(site: DoctorSite, description: Description) -> Iterable[Finding]:
    """Learning settings in the app, which an agent refuses that leaves them to the server."""
    if site.client is None:
        return
    try:
        check_app_settings(site.client, description.settings)
    except ConfigError as error:
        yield failure(error.cause, measured=error.key, cure=error.cure, about="settings")


def amounts(site: DoctorSite, description: Description) -> Iterable[Finding]:
    """How much there is, and of which classes."""
    counts = description.class_counts
    if site.role == "server":
        if not description.num_test:
            cure = "give the Client in the app test data (test=), or leave the evaluation to the clients' sums"
            yield warning("the server has no evaluation data of its own", cure=cure, about="amounts")
        else:
            yield ok("the server has evaluation data", measured=f"{description.num_test} examples", about="amounts")
        return
    if not description.num_train:
        cure = "give the Client training data (train=)"
        yield failure("there are no training examples", cure=cure, about="amounts")
        return
    measured = f"{description.num_train} to train on, {description.num_test} held out"
    here = sum(1 for count in counts if count)
    if counts and here == 1:
        cure = "see whether the labels were read rightly; with one class a client teaches the others little"
        yield warning("all training examples are of one class", measured=measured, cure=cure, about="amounts")
        return
    if counts and len(counts) <= SHOWN_CLASSES:
        measured += f"; of each class {', '.join(map(str, counts))}"
    classes = f"; examples of {here} of {len(counts)} classes" if counts else ""
    yield ok(f"there are examples{classes}", measured=measured, about="amounts")
    yield from folder(site)


def folder(site: DoctorSite) -> Iterable[Finding]:
    """The folder of arriving files."""
    if site.client is None or not site.client.data.folder:
        return
    path = Path(site.folder) / site.client.data.folder
    files = len(list(path.glob("*.npz"))) if path.is_dir() else 0
    if not path.is_dir():
        yield failure(
            f"data.folder {path} is no folder", cure="make it, or correct data.folder in client.toml", about="folder"
        )
    elif not files:
        cure = "put .npz files with x and y there; until then this client sits out its rounds"
        yield warning(f"no .npz file is in {path} yet", measured="0 files", cure=cure, about="folder")
    else:
        yield ok("files are in data.folder", measured=f"{files} files", about="folder")
