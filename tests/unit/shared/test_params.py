"""The flat vector and its file."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from roughfed import params
from roughfed.digest import content_digest
from roughfed.errors import RemoteProtocolError, StorageError
from roughfed.types import Spec, TensorSpec

SPEC = Spec(
    (
        TensorSpec("layer.weight", (3, 4)),
        TensorSpec("scale", ()),
        TensorSpec("bn.var", (2,), "float16", "variance"),
        TensorSpec("none", (0, 5)),
    )
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    names = draw(st.lists(st.text("abc.", min_size=1, max_size=6), min_size=1, max_size=5, unique=True))
    shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
    return Spec(tuple(TensorSpec(name, draw(shapes)) for name in names))


@given(spec=specs(), seed=st.integers(0, 2**32 - 1))
def test_flatten_and_unflatten_undo_one_another(spec: Spec, seed: int) -> None:
    flat = np.random.default_rng(seed).normal(size=spec.size).astype(np.float32)
    named = params.unflatten(flat, spec)
    assert [(name, array.shape) for name, array in named.items()] == [(t.name, t.shape) for t in spec.tensors]
    out = np.full(spec.size, np.nan, dtype=np.float32)
    params.flatten(dict(reversed(named.items())), spec, out)
    np.testing.assert_array_equal(out, flat)


def test_unflatten_gives_views() -> None:
    flat = np.zeros(SPEC.size, dtype=np.float32)
    params.unflatten(flat, SPEC)["scale"][...] = 7
    assert flat.tolist().index(7) == 12


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_any_numeric_type_becomes_float32(dtype: str) -> None:
    spec, out = Spec((TensorSpec("a", (3,)),)), np.empty(3, dtype=np.float32)
    params.flatten({"a": np.array([1, 2, 3], dtype=dtype)}, spec, out)
    assert out.tolist() == [1, 2, 3]


def named(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    sane = {t.name: np.zeros(t.shape, dtype=np.float32) for t in SPEC.tensors}
    return {name: array for name, array in (sane | changes).items() if array is not None}


@pytest.mark.parametrize(
    "wrong",
    [
        named(scale=None),
        named(scale=np.zeros(1, np.float32)),
        named(**{"layer.weight": np.zeros((4, 3), np.float32)}),
        named(**{"layer.weight": np.zeros(12, np.float32)}),
    ],
)
def test_missing_and_misshapen_tensors_are_refused(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        params.flatten(wrong, SPEC, np.empty(SPEC.size, dtype=np.float32))
    assert refused.value.reason == "schema"


@pytest.mark.parametrize("size", [0, SPEC.size - 1, SPEC.size + 1])
def test_a_vector_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        params.unflatten(np.zeros(size, dtype=np.float32), SPEC)


@settings(max_examples=40)
@given(spec=specs(), seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_the_file_is_the_vector_whatever_the_pieces(
    tmp_path_factory: pytest.TempPathFactory, spec: Spec, seed: int, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("m") / "model.safetensors"
    flat = np.random.default_rng(seed).normal(size=spec.size).astype(np.float32)
    pieces = np.split(flat, sorted(min(cut, spec.size) for cut in cuts))
    digest = params.write_model(path, spec, pieces)

    offset = params.data_offset(path)
    assert offset % 64 == 0
    assert path.read_bytes()[offset:] == flat.tobytes()
    assert digest == content_digest(flat.tobytes()) == params.digest_file(path, offset=offset)
    if spec.size:
        np.testing.assert_array_equal(params.read_flat(path), flat)
    assert len(list(path.parent.iterdir())) == 1  # nothing half-written is left


def test_any_safetensors_reader_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    flat = np.arange(SPEC.size, dtype=np.float32)
    params.write_model(path, SPEC, [flat])
    for name, array in load_file(path).items():
        np.testing.assert_array_equal(array, params.unflatten(flat, SPEC)[name])


def test_the_header_announces_the_spec_and_every_byte() -> None:
    head = params.model_header(SPEC)
    entries = json.loads(head[8:])
    assert entries.pop("__metadata__") == {"roughfed_spec": SPEC.digest.hex()}
    ends = [entries[t.name]["data_offsets"] for t in SPEC.tensors]
    assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
    assert ends[-1][1] == SPEC.size_bytes


@pytest.mark.parametrize("count", [0, SPEC.size - 1, SPEC.size + 1])
def test_too_few_or_too_many_parameters_never_become_a_model(tmp_path: Path, count: int) -> None:
    with pytest.raises(StorageError, match="the Spec says"):
        params.write_model(tmp_path / "m.safetensors", SPEC, [np.zeros(count, dtype=np.float32)])
    assert not (tmp_path / "m.safetensors").exists()


def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    digest = params.write_model(path, SPEC, [np.ones(SPEC.size, dtype=np.float32)])

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(params.os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            params.write_model(path, SPEC, [np.zeros(SPEC.size, dtype=np.float32)])
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    assert params.digest_file(path, offset=params.data_offset(path)) == digest


@pytest.mark.parametrize("content", [b"", b"1234", bytes(8), b"\xff" * 8, (1000).to_bytes(8, "little") + b"{}"])
def test_what_is_no_model_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(StorageError):
        params.data_offset(path)


def test_digest_file_tells_how_far_it_is(tmp_path: Path) -> None:
    path, moved = tmp_path / "x", list[int]()
    data = bytes(range(256)) * 5000
    path.write_bytes(b"head" + data)
    assert params.digest_file(path, offset=4, on_read=moved.append) == content_digest(data)
    assert sum(moved) == len(data)


def other(**changes: object) -> TensorSpec:
    return TensorSpec(**({"name": "scale", "shape": ()} | changes))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (SPEC.tensors[1:], "only this client has it"),
        ((*SPEC.tensors, TensorSpec("extra", ())), "only the server has it"),
        ((SPEC.tensors[0], other(shape=(1,)), *SPEC.tensors[2:]), "scale: here float32[] parameter"),
        ((SPEC.tensors[0], other(kind="buffer"), *SPEC.tensors[2:]), "buffer"),
        ((SPEC.tensors[0], other(dtype="float64"), *SPEC.tensors[2:]), "float64"),
        (SPEC.tensors[::-1], "another order"),
    ],
)
def test_differences_are_named(theirs: tuple[TensorSpec, ...], said: str) -> None:
    lines = params.explain_difference(SPEC, Spec(theirs))
    assert len(lines) == 1
    assert said in lines[0]
    assert Spec(theirs).digest != SPEC.digest


def test_a_long_list_of_differences_is_cut() -> None:
    many = Spec(tuple(TensorSpec(f"t{i}", ()) for i in range(50)))
    assert len(params.explain_difference(SPEC, many, limit=5)) == 6
    assert params.explain_difference(SPEC, SPEC) == []
