"""A watched folder: files that appear between rounds, half-written files, and files that lie."""

import io
import logging
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roughfed
from roughfed.data.npz import Incomplete, read_npz
from roughfed.data.watched import WatchedFolder
from roughfed.errors import ConfigError


def examples(n: int, first: int = 0, side: int = 2) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(first, first + n * side, dtype=np.float32).reshape(n, side)
    return x, np.arange(first, first + n) % 3


def npz(n: int, first: int = 0, **changes: Any) -> bytes:
    x, y = examples(n, first)
    file = io.BytesIO()
    np.savez(file, **({"x": x, "y": y} | changes))
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


GOOD_X = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n", struct.pack("<2f", 1, 2))
GOOD_Y = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n", b"\x01\x00")


def test_files_appear_and_disappear_between_rounds_and_ids_stay(tmp_path: Path) -> None:
    stream = roughfed.WatchedFolder(tmp_path, num_classes=3, shape=(2,))
    assert isinstance(stream, roughfed.Stream)
    empty = stream.at(1)
    assert (len(empty), empty.input_shape, empty.num_classes) == (0, (2,), 3)

    (tmp_path / "monday.npz").write_bytes(npz(3))
    first = stream.at(2)
    assert first.y.tolist() == [0, 1, 2]
    assert first.x.dtype == np.float32
    assert stream.at(3) is first  # nothing changed, nothing is read again

    (tmp_path / "tuesday.npz").write_bytes(npz(2, first=5))
    both = stream.at(4)
    assert len(both) == 5
    assert len(np.unique(both.ids)) == 5
    assert both.ids.min() >= 0
    known = dict(zip(both.ids.tolist(), both.x[:, 0].tolist(), strict=True))
    assert [known[i] for i in first.ids.tolist()] == first.x[:, 0].tolist()

    (tmp_path / "monday.npz").rename(tmp_path / "a-new-name.npz")
    np.testing.assert_array_equal(stream.at(5).ids, both.ids)  # no name decides anything
    np.testing.assert_array_equal(WatchedFolder(tmp_path).at(5).ids, both.ids)  # nor does a restart

    (tmp_path / "a-new-name.npz").unlink()
    assert len(stream.at(6)) == 2


def test_the_same_content_under_two_names_counts_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.npz").write_bytes(npz(3))
    assert len(WatchedFolder(tmp_path).at(1)) == 3


def test_a_half_written_file_waits_until_it_is_complete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "whole.npz").write_bytes(npz(2))
    whole, path = npz(4, first=9), tmp_path / "late.npz"
    stream = WatchedFolder(tmp_path)
    for size in range(0, len(whole), 37):
        path.write_bytes(whole[:size])
        assert len(stream.at(1)) == 2
    said = [record.getMessage() for record in caplog.records]
    assert said
    assert all("'late.npz' is left out for now" in line for line in said)
    caplog.clear()
    assert len(stream.at(2)) == 2
    assert not caplog.records  # said once, as long as the file does not change

    path.write_bytes(whole)
    assert len(stream.at(3)) == 6


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_file_is_incomplete_whatever_it_is_compressed_with(tmp_path: Path, how: int) -> None:
    path = tmp_path / "damaged.npz"
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("x.npy", GOOD_X + bytes(4000))
        archive.writestr("y.npy", GOOD_Y)
    content = bytearray(path.read_bytes())
    for at in range(45, 70):
        content[at] ^= 0x5A
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(Incomplete):
        read_npz(file, path, ("x", "y"), 1 << 20)


def test_files_that_do_not_fit_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wide, labels = examples(2, side=3)
    bad = {
        "wide": npz(2, x=wide, y=labels),
        "class 7": npz(2, y=np.array([0, 7])),
        "negative": npz(2, y=np.array([0, -1])),
        "lengths": npz(2, y=np.array([0, 1, 2])),
        "pixels": npz(2, x=np.zeros((2, 2), dtype=np.uint8)),
        "nan": npz(2, x=np.array([[np.nan, 0], [0, 0]])),
        "scalar": npz(2, x=np.float32(1), y=np.int64(1)),
        "no y": zipped({"x.npy": GOOD_X}),
        "objects": npz(2, x=np.array([[{}, 1], [2, 3]], dtype=object)),
        "columns": npz(2, y=np.zeros((2, 1), dtype=np.int64)),
    }
    for name, content in bad.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    (tmp_path / "good.npz").write_bytes(npz(3))
    (tmp_path / "notes.txt").write_text("not looked at")

    assert len(WatchedFolder(tmp_path, num_classes=3, shape=(2,)).at(1)) == 3

    said = "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert all(f"'{name}.npz' is left out" in said for name in bad if name != "wide")
    assert "(3,) of float32" in said


def test_measured_values_and_token_ids_keep_their_kind(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npz(2, x=np.array([[1, 2], [3, 4]]), y=np.array([0.5, 1.5])))
    found = WatchedFolder(tmp_path).at(1)
    assert (found.x.dtype, found.y.dtype, found.num_classes) == (np.int64, np.float32, 0)


def test_links_and_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.npz").write_bytes(npz(3))
    watched = tmp_path / "watched"
    watched.mkdir()
    (watched / "link.npz").symlink_to(tmp_path / "secret" / "a.npz")
    (watched / "folder.npz").mkdir()
    os.mkfifo(watched / "pipe.npz")
    assert len(WatchedFolder(watched).at(1)) == 0


def test_more_than_the_limit_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.npz").write_bytes(npz(3))
    (tmp_path / "b.npz").write_bytes(npz(300, first=5))
    stream = WatchedFolder(tmp_path, max_bytes=1000)
    assert len(stream.at(1)) == 3
    assert "are left" in caplog.text


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as refusal:
        WatchedFolder(tmp_path / "nowhere").at(1)
    assert refusal.value.key == "data.folder"


def read(content: bytes, max_bytes: int = 1 << 20) -> list[np.ndarray]:
    return read_npz(io.BytesIO(content), Path("f.npz"), ("x", "y"), max_bytes)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_is_read(save: Any, order: Any) -> None:
    x = np.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)), order=order)
    y = np.arange(3, dtype=">i2")
    file = io.BytesIO()
    save(file, x=x, y=y, else_="not read")
    for found, want in zip(read(file.getvalue()), (x, y), strict=True):
        np.testing.assert_array_equal(found, want)


class Exploit:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.abort, ())  # type: ignore[return-value]


BAD = {
    "pickled": (zipped({"x.npy": pickle.dumps(Exploit()), "y.npy": GOOD_Y}), "no .npy"),
    "objects": (
        zipped({"x.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "y.npy": GOOD_Y}),
        "something else than numbers",
    ),
    "records": (
        zipped({"x.npy": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"), "y.npy": GOOD_Y}),
        "something else than numbers",
    ),
    "odd floats": (
        zipped({"x.npy": npy("{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }"), "y.npy": GOOD_Y}),
        "something else than numbers",
    ),
    "code": (zipped({"x.npy": npy("__import__('os').abort()"), "y.npy": GOOD_Y}), "something else than numbers"),
    "huge shape": (
        zipped(
            {"x.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9), }"), "y.npy": GOOD_Y}
        ),
        "does not fit",
    ),
    "long header": (zipped({"x.npy": npy(" " * 5000), "y.npy": GOOD_Y}), "no .npy"),
    "bomb": (zipped({"x.npy": bytes(2 << 20), "y.npy": GOOD_Y}), "are left"),
    "twice": (None, "has not one array 'x'"),
    "elsewhere": (zipped({"../x.npy": GOOD_X, "/y.npy": GOOD_Y}), "has not one array 'x'"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", BAD)
def test_files_that_lie_are_refused(case: str) -> None:
    content, cause = BAD[case]
    if content is None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in (("x.npy", GOOD_X), ("x.npy", GOOD_X), ("y.npy", GOOD_Y)):
                archive.writestr(name, data)
        content = file.getvalue()
    with pytest.raises(ConfigError, match=cause) as refusal:
        read(content)
    assert refusal.value.file == "f.npz"


def test_a_wrong_checksum_is_noticed() -> None:
    content = bytearray(npz(3))
    at = content.index(struct.pack("<f", 5.0))
    content[at] ^= 1
    with pytest.raises(Incomplete, match="CRC"):
        read(bytes(content))


WHOLE = {"plain": npz(3), "packed": zipped({"x.npy": GOOD_X, "y.npy": GOOD_Y})}


@settings(max_examples=400)
@given(
    which=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    cut=st.floats(0, 1),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_change_of_a_file_makes_anything_but_a_refusal(
    which: str, changes: list[tuple[float, int]], cut: float
) -> None:
    content = bytearray(WHOLE[which])
    for place, value in changes:
        content[int(place * len(content))] = value
    try:
        x, y = read(bytes(content[: round(cut * len(content))] if cut < 0.9 else content))
    except (Incomplete, ConfigError):
        return
    assert min(x.ndim, y.ndim) >= 0
