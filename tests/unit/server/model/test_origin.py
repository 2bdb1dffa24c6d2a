"""Starting weights in every type a file may hold them in, and a run that stays what it began as."""

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.config.federation import Federation, FederationConfig, Model, RoundSettings
from roughfed.deploy.synthetic import SyntheticOrigin
from roughfed.errors import ConfigError
from roughfed.params import read_flat
from roughfed.server.model.run_setup import open_run, write_given
from roughfed.server.storage.store import Store
from roughfed.types import Spec, TensorSpec

SPEC = Spec((TensorSpec("a", (2, 2)), TensorSpec("b", (3,), "bfloat16")))
VALUES = np.array([1.0, -2.5, 0.0, 0.15625, 3e-5, -1e4, 7.0], dtype=np.float32)
"""Exact to 16 bits but for 3e-5."""


def bfloat16(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


TYPES: dict[str, Any] = {
    "float64": lambda v: v.astype(np.float64),
    "float32": lambda v: v.astype(np.float32),
    "float16": lambda v: v.astype(np.float16),
    "bfloat16": bfloat16,
    "int64": lambda v: v.astype(np.int64),
    "uint8": lambda v: np.abs(v).astype(np.uint8),
    "complex64": lambda v: v.astype(np.complex64),
}
LETTERS = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "uint8": "U8",
    "complex64": "C64",
}  # fmt: skip


def write(path: Path, **tensors: tuple[str, Any]) -> Path:
    """A safetensors file; each tensor is (type, values)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, values) in tensors.items():
        array = np.asarray(values)
        piece = TYPES[dtype](array).tobytes()
        offsets = [len(data), len(data) + len(piece)]
        header[name] = {"dtype": LETTERS[dtype], "shape": array.shape, "data_offsets": offsets}
        data += piece
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def begin(folder: Path, **tensors: tuple[str, Any]) -> list[float]:
    given = write(folder / "given.safetensors", **tensors)
    write_given(path := folder / "first.safetensors", SPEC, given)
    return read_flat(path).tolist()


A, B = VALUES[:4].reshape(2, 2), VALUES[4:]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_float_type_is_read(tmp_path: Path, dtype: str) -> None:
    assert begin(tmp_path, b=(dtype, B), a=(dtype, A)) == pytest.approx(VALUES.tolist(), rel=0.01)


def test_types_may_differ_and_step_counters_are_passed_over(tmp_path: Path) -> None:
    found = begin(tmp_path, a=("float64", A), b=("bfloat16", B), steps=("int64", 5), flags=("uint8", [1, 2, 3]))
    assert found[:4] == A.reshape(-1).tolist()


def with_value(value: float) -> np.ndarray:
    changed = A.astype(np.float64)
    changed[1, 0] = value
    return changed


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a": ("float64", with_value(1e300)), "b": ("float32", B)}, "tensor a: a value is not finite"),
        ({"a": ("float32", with_value(np.nan)), "b": ("float32", B)}, "tensor a: a value is not finite"),
        ({"a": ("bfloat16", with_value(np.inf)), "b": ("float32", B)}, "tensor a: a value is not finite"),
        ({"a": ("complex64", A), "b": ("float32", B)}, "tensor a: got C64, want one of F64"),
        ({"a": ("int64", A), "b": ("float32", B)}, "tensor a: got I64, want one of F64"),
        ({"a": ("float32", A), "b": ("float32", B), "head": ("float16", B)}, "tensor head: the model has none"),
        ({"a": ("float32", A), "b": ("float32", B), "z": ("complex64", B)}, "tensor z: the model has none"),
        ({"b": ("float32", A), "c": ("float32", B)}, r"tensor a: .* tensor b: got \(2, 2\), .* tensor c: the model"),
        ({f"x{i}": ("float32", B) for i in range(20)}, "and 14 more"),
    ],
)
def test_what_is_not_the_models_weights_is_refused_by_name(tmp_path: Path, tensors: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        begin(tmp_path, **tensors)
    assert refused.value.key == "model.init"
    assert [path.name for path in tmp_path.iterdir()] == ["given.safetensors"]


# -- a run that goes on ------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A server's directory, and a file of starting weights for it."""

    folder: Path

    def given(self, value: float, name: str = "given.safetensors") -> str:
        return str(write(self.folder / name, weight=("float32", np.full(4, value))))

    def start(self, *, init: str = "", **federation: Any) -> str:
        config = FederationConfig(round=RoundSettings(), model=Model(init=init), federation=Federation(**federation))
        store = Store(self.folder / "state")
        try:
            return asyncio.run(open_run(store, SyntheticOrigin(4), config))[0]
        finally:
            store.close()


def test_a_run_goes_on_with_the_settings_it_began_with(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    init = scene.given(1.0)
    run = scene.start(init=init, name="lab")
    assert run.startswith("lab-")
    assert scene.start(init=init, name="lab") == run
    moved = Path(init).rename(tmp_path / "moved.safetensors")
    assert scene.start(init=str(moved), name="lab") == run  # the weights count, not where they lie


@pytest.mark.parametrize(
    ("before", "after", "key", "said"),
    [
        ({"name": "lab"}, {"name": "clinic"}, "federation.name", 'name = "lab", not "clinic"'),
        ({}, {"task": "regression"}, "federation.task", 'task = "classification", not "regression"'),
        ({}, {"init": 1.0}, "model.init", "began without given weights"),
        ({"init": 1.0}, {}, "model.init", "began with given weights"),
        ({"init": 1.0}, {"init": 2.0}, "model.init", "began with other weights"),
    ],
)
def test_a_run_that_should_become_another_is_refused(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], key: str, said: str
) -> None:
    scene = Scene(tmp_path)
    for settings, refused in ((before, False), (after, True)):
        given = {**settings, "init": scene.given(settings["init"])} if "init" in settings else settings
        if not refused:
            scene.start(**given)
            continue
        with pytest.raises(ConfigError, match=said) as error:
            scene.start(**given)
        assert error.value.key == key
        assert "empty --dir" in error.value.cure


def test_a_run_does_not_need_its_first_weights_any_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(tmp_path)
    run = scene.start(init=(init := scene.given(1.0)))
    Path(init).unlink()
    with caplog.at_level(logging.WARNING):
        assert scene.start(init=init) == run
    assert "cannot be compared" in caplog.text


def test_a_run_of_an_older_journal_goes_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    run = scene.start(name="lab")
    store = Store(tmp_path / "state")

    async def forget() -> None:
        await store.journal.write(lambda db: db.execute("UPDATE run SET began = NULL"))

    asyncio.run(forget())
    store.close()
    assert scene.start(name="clinic") == run
