"""The frozen base of a run: how a run begins with one, how a client gets it, and who is turned away."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from roughfed.adapters import Base
from roughfed.client.connection.rpc import Connection
from roughfed.client.metrics import ClientMetrics
from roughfed.client.policy import Rules
from roughfed.client.round.download import fetch_frozen
from roughfed.client.rules.checks import CODECS, check_app, check_welcome
from roughfed.client.storage.store import ClientStore
from roughfed.config.client import PolicySettings
from roughfed.config.federation import FederationConfig
from roughfed.deploy.cli import app as cli
from roughfed.deploy.synthetic import SyntheticOrigin
from roughfed.digest import content_digest
from roughfed.errors import ConfigError, RemoteProtocolError, StorageError
from roughfed.messages import Welcome
from roughfed.params import read_flat, unflatten, write_model
from roughfed.server.model.frozen import FILE, base_of
from roughfed.server.model.run_setup import open_run
from roughfed.server.storage.store import Store
from roughfed.trainer_client import Description
from roughfed.types import Spec, TensorSpec
from roughfed.wire.chunks import encode_chunk
from roughfed.wire.session import decode_get_model, job_digest

WHOLE = Spec((TensorSpec("body.weight", (6, 4)), TensorSpec("body.bias", (6,)), TensorSpec("head.weight", (3, 6))))
VALUES = np.arange(1, WHOLE.size + 1, dtype=np.float32)
ADAPTERS: dict[str, object] = {"adapters": 2, "adapter_alpha": 4.0, "train": ["head.*"]}


class Small(SyntheticOrigin):
    """A body and a head; parameters 1, 2 and so on."""

    def __init__(self) -> None:
        super().__init__(WHOLE.size)

    async def describe(self) -> Description:
        return replace(await super().describe(), spec=WHOLE, adaptable=("body.weight", "head.weight"))

    async def initial(self, path: Path, *, seed: int) -> bytes:
        del seed
        return write_model(path, WHOLE, [VALUES])


def begin(folder: Path, **model: object) -> tuple[Spec, dict[str, np.ndarray], Base | None]:
    """Open the run of a directory; what travels, version 0, and the base."""
    with closing(Store(folder / "state")) as store:
        _, spec = asyncio.run(open_run(store, Small(), FederationConfig.model_validate({"model": model})))
        values = unflatten(np.array(read_flat(store.model_path(store.latest_model()[1]))), spec)
        return spec, values, base_of(store)


def test_a_run_with_adapters_begins_with_the_base_and_goes_on_with_it(tmp_path: Path) -> None:
    spec, values, base = begin(tmp_path, **ADAPTERS)
    assert [t.name for t in spec.tensors] == ["body.lora_a", "body.lora_b", "head.weight"]
    assert base is not None
    assert (base.scale, [t.name for t in base.spec.tensors]) == (2.0, ["body.bias", "body.weight"])
    frozen = unflatten(np.array(read_flat(tmp_path / "state" / FILE)), base.spec)
    assert np.array_equal(frozen["body.weight"].ravel(), VALUES[:24])
    assert np.array_equal(values["head.weight"].ravel(), VALUES[30:])
    assert not values["body.lora_b"].any()
    assert 0 < np.abs(values["body.lora_a"]).max() <= 0.5  # 1 / sqrt(4 inputs)
    again = begin(tmp_path, **ADAPTERS)
    assert (again[0], again[2]) == (spec, base)


def test_the_same_seed_draws_the_same_adapters_and_a_frozen_a_lies_in_the_base(tmp_path: Path) -> None:
    _, values, _ = begin(tmp_path / "one", **ADAPTERS)
    spec, _, base = begin(tmp_path / "two", **ADAPTERS, train_a=False)
    assert [t.name for t in spec.tensors] == ["body.lora_b", "head.weight"]
    assert base is not None
    frozen = unflatten(np.array(read_flat(tmp_path / "two" / "state" / FILE)), base.spec)
    assert np.array_equal(frozen["body.lora_a"], values["body.lora_a"])


def test_given_weights_are_divided_as_well(tmp_path: Path) -> None:
    given = {t.name: np.full(t.shape, at, dtype=np.float32) for at, t in enumerate(WHOLE.tensors)}
    save_file(given, tmp_path / "init.safetensors")
    _, values, base = begin(tmp_path, **ADAPTERS, init=str(tmp_path / "init.safetensors"))
    assert base is not None
    assert float(values["head.weight"][0, 0]) == 2.0
    assert np.array_equal(np.unique(read_flat(tmp_path / "state" / FILE)), [0.0, 1.0])


@pytest.mark.parametrize("change", [{"adapter_alpha": 8.0}, {"train_a": False}, {"adapters": 3}, {"train": ["*.bias"]}])
def test_a_run_stands_on_what_it_began_with(change: dict[str, object], tmp_path: Path) -> None:
    begin(tmp_path, **ADAPTERS)
    with pytest.raises(ConfigError, match="in this directory") as caught:
        begin(tmp_path, **{**ADAPTERS, **change})
    assert caught.value.key == "model"


def test_a_damaged_base_stops_the_start(tmp_path: Path) -> None:
    begin(tmp_path, frozen=["body.*"])
    path = tmp_path / "state" / FILE
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    with pytest.raises(StorageError, match="gone or damaged"):
        begin(tmp_path, frozen=["body.*"])
    path.unlink()
    with pytest.raises(StorageError, match="gone or damaged"):
        begin(tmp_path, frozen=["body.*"])


def test_export_writes_what_was_trained_or_the_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    (tmp_path / "fed.toml").write_text("[model]\nname = 'mlp'\n[data]\nname = 'digits'\n")
    begin(tmp_path, **ADAPTERS)
    part, whole = tmp_path / "part.safetensors", tmp_path / "whole.safetensors"
    assert cli.run(["export", "--dir", str(tmp_path), "--out", str(part)]) == 0
    assert "the 30 parameters under it are frozen" in capsys.readouterr().err
    assert cli.run(["export", "--dir", str(tmp_path), "--merged", "--out", str(whole), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["merged"] is True
    assert load_file(part).keys() == {"body.lora_a", "body.lora_b", "head.weight"}
    found = load_file(whole)
    assert {name: t.shape for name, t in found.items()} == {t.name: t.shape for t in WHOLE.tensors}
    assert np.array_equal(found["body.weight"].ravel(), VALUES[:24])
    assert not list(tmp_path.glob("*.whole"))


def welcome(folder: Path) -> Welcome:
    spec, _, base = begin(folder, **ADAPTERS)
    return Welcome("1", 2, "run-1", spec, b"", "updates", "classification", 10, base=base)


def described(spec: Spec = WHOLE, adaptable: tuple[str, ...] = ("body.weight", "head.weight")) -> Description:
    return Description(spec, "classification", 1, 1, 3, "cpu", "app", {}, adaptable=adaptable)


def test_a_client_with_the_same_model_is_taken_and_others_hear_which_tensor_differs(tmp_path: Path) -> None:
    said = welcome(tmp_path)
    check_app(said, described())
    wider = Spec((TensorSpec("body.weight", (6, 5)), *WHOLE.tensors[1:]))
    with pytest.raises(ConfigError, match=r"body\.weight: here float32\[6, 5\] parameter, server float32\[6, 4\]"):
        check_app(said, described(wider))
    with pytest.raises(ConfigError, match=r"body\.bias: only the server has it"):
        check_app(said, described(Spec((WHOLE.tensors[0], WHOLE.tensors[2]))))
    with pytest.raises(ConfigError, match=r"an adapter on body\.weight"):
        check_app(said, described(adaptable=()))
    rules = Rules(PolicySettings(server_sees="updates", max_model_bytes=4 * (said.spec.size + 29)))
    with pytest.raises(RemoteProtocolError, match="the model has"):
        check_welcome(said, rules)


def test_the_header_binds_the_base_and_its_scale(tmp_path: Path) -> None:
    base = welcome(tmp_path).base
    assert base is not None
    others = [None, replace(base, scale=1.0), replace(base, digest=bytes(32)), replace(base, spec=WHOLE)]
    digests = {job_digest({}, evaluate=True, base=each) for each in (base, *others)}
    assert len(digests) == 5
    assert job_digest({}, evaluate=True) in digests


PIECE = 40


@dataclass
class Source:
    """GetModel of a server that breaks off after so many pieces, call by call."""

    data: bytes
    breaks: list[int] = field(default_factory=list[int])
    asked: list[int] = field(default_factory=list[int])
    back: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: bytes) -> AsyncIterator[bytes]:
        _, offset, _ = decode_get_model(request)
        self.asked.append(offset)
        left = self.breaks.pop(0) if self.breaks else -1
        for at in range(offset, len(self.data), PIECE):
            if left == 0:
                self.back.set()
                return
            left -= 1
            yield encode_chunk(at, self.data[at : at + PIECE])


def present() -> asyncio.Event:
    here = asyncio.Event()
    here.set()
    return here


def fetch(folder: Path, source: Source, base: Base) -> Path:
    with closing(ClientStore(folder)) as store:
        connection = Connection.__new__(Connection)  # its code, without its channel
        connection._get_model = source  # pyright: ignore[reportAttributeAccessIssue]

        metrics = ClientMetrics(codecs=CODECS)
        ctx = SimpleNamespace(
            connection=connection,
            store=store,
            resumed=source.back,
            connected=present(),
            metrics=metrics,
            enter=lambda *_: None,
        )
        return asyncio.run(fetch_frozen(cast(Any, ctx), base))


def test_the_base_is_downloaded_once_resumed_and_held_against_its_digest(tmp_path: Path) -> None:
    data = VALUES[:30].tobytes()
    base = Base(Spec(WHOLE.tensors[:2]), content_digest(data))
    source = Source(data, breaks=[1])
    path = fetch(tmp_path, source, base)
    assert source.asked == [0, PIECE]
    assert read_flat(path).tobytes() == data
    assert fetch(tmp_path, source, base) == path
    assert source.asked == [0, PIECE]  # it was there
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert fetch(tmp_path, source, base) == path
    assert read_flat(path).tobytes() == data
    with pytest.raises(RemoteProtocolError) as caught:
        fetch(tmp_path, Source(data[:-4] + bytes(4)), replace(base, digest=bytes(32)))
    assert caught.value.reason == "digest"
    assert path.exists()  # what came instead took nobody's place
