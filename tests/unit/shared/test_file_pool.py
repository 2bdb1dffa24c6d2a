"""Files that are written over: what is written is all that stands, and nothing that has a name is touched."""

from pathlib import Path

import numpy as np
import pytest

from roughfed.errors import StorageError
from roughfed.file_pool import claim, keep_as_spare, retire, rewritten, written_over


def test_a_retired_file_is_written_over_and_has_one_name(tmp_path: Path) -> None:
    old, spare, new = tmp_path / "old", tmp_path / "spare", tmp_path / "new"
    old.write_bytes(b"old" * 1000)
    inode = old.stat().st_ino
    retire(old, spare)
    written_over(new, spare, 4000)[:] = np.frombuffer(bytes(range(250)) * 16, np.uint8)

    assert new.read_bytes() == bytes(range(250)) * 16
    assert new.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("before", [0, 100, 4000, 9000])
def test_any_length_becomes_the_wanted_one_and_all_blocks_are_there(before: int, tmp_path: Path) -> None:
    (tmp_path / "spare").write_bytes(b"x" * before)
    values = written_over(tmp_path / "new", tmp_path / "spare", 4000)

    assert len(values) == (tmp_path / "new").stat().st_size == 4000
    assert (tmp_path / "new").stat().st_blocks * 512 >= 4000  # else a full disk would be a signal


def test_a_file_that_still_has_another_name_is_left_alone(tmp_path: Path) -> None:
    current, spare, new = (tmp_path / name for name in ("current", "spare", "new"))
    current.write_bytes(b"right")
    keep_as_spare(current, spare)  # and then a crash: no new file took the name
    written_over(new, spare, 5)[:] = 0

    assert current.read_bytes() == b"right"
    assert new.read_bytes() == bytes(5)


@pytest.mark.parametrize("linked", [False, True])
def test_who_writes_from_the_beginning_leaves_a_snapshot_alone_too(tmp_path: Path, linked: bool) -> None:
    spare, snapshot, delta = (tmp_path / name for name in ("spare", "snapshot", "delta"))
    spare.write_bytes(b"then")
    if linked:
        snapshot.hardlink_to(spare)
    claim(spare, delta)
    assert delta.exists() is not linked  # nothing is copied where it can be written over
    with rewritten(delta) as file:
        file.write(b"now!")

    assert delta.read_bytes() == b"now!"
    assert not linked or snapshot.read_bytes() == b"then"


def test_what_is_replaced_is_written_over_next(tmp_path: Path) -> None:
    current, spare, new = (tmp_path / name for name in ("current", "spare", "new"))
    current.write_bytes(b"1")
    new.write_bytes(b"2")
    keep_as_spare(current, spare)
    new.replace(current)

    assert (current.read_bytes(), spare.read_bytes()) == (b"2", b"1")
    keep_as_spare(tmp_path / "gone", spare)  # nothing to keep
    retire(tmp_path / "gone", spare)
    assert not list(tmp_path.glob("gone*"))


def test_a_file_written_from_its_beginning_keeps_nothing_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "delta"
    for data in (b"short", b"much longer", b"less"):
        with rewritten(path) as file:
            file.write(data)
        assert path.read_bytes() == data


def test_a_folder_that_is_gone_is_an_error_of_the_storage(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        written_over(tmp_path / "gone" / "new", tmp_path / "spare", 10)
