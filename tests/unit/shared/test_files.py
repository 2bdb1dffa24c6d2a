"""Files that are whole or absent, and a disk that refuses."""

import errno
import os
from pathlib import Path

import pytest

from roughfed.errors import StorageError
from roughfed.files import disk_errors, fsync_folder, place_durably, write_durably
from roughfed.params import data_offset, digest_file, write_model
from roughfed.types import Spec, TensorSpec


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_new_contents_replace_the_old_with_the_permissions_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_durably(path, b"old", mode=0o644)
    write_durably(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_through_a_link_that_lies_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "key.tmp").symlink_to(tmp_path / "elsewhere")
    write_durably(tmp_path / "key", b"secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_a_storage_error_and_the_old_contents_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    write_durably(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_no_part_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_model(tmp_path / "model.safetensors", Spec((TensorSpec("w", (2,)),)), [bytes(8)])
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for work in (
        lambda: place_durably(missing, tmp_path / "target"),
        lambda: fsync_folder(missing),
        lambda: digest_file(missing),
        lambda: data_offset(missing),
        lambda: write_durably(missing / "file", b""),
    ):
        with pytest.raises(StorageError, match="No such file"):
            work()


def test_errors_of_other_kinds_pass() -> None:
    with pytest.raises(KeyError), disk_errors("look"):
        raise KeyError
