"""Sources: digits offline, Fashion-MNIST from IDX files wherever they lie, and a parser that believes nothing."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from roughfed.data import SOURCES, digits, fashion_mnist, load, mnist
from roughfed.data.dataset import Dataset
from roughfed.data.idx import read_idx
from roughfed.data.idx_images import cache_folder
from roughfed.errors import ConfigError


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_fashion(folder: Path, *, train: int = 30, test: int = 20, suffix: str = "", side: int = 28) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, size=(n, side, side), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx_bytes(array)
            path = folder / f"{part}-{what}-ubyte{suffix}"
            path.write_bytes(gzip.compress(data) if suffix == ".gz" else data)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the Debian package, without a cache, without torchvision."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    return tmp_path


def test_digits_are_whole_stratified_and_seeded() -> None:
    train, test = load("digits", seed=1)
    assert (train.x.shape, test.x.shape) == ((1438, 1, 8, 8), (359, 1, 8, 8))
    assert train.x.dtype == np.float32
    assert train.input_shape == (1, 8, 8)
    assert np.bincount(test.y).min() >= 34
    np.testing.assert_array_equal(np.sort(np.concatenate([train.ids, test.ids])), np.arange(1797))
    both = np.concatenate([train.x, test.x])
    assert abs(both.mean()) < 1e-3
    assert abs(both.std() - 1) < 1e-3
    np.testing.assert_array_equal(load("digits", seed=1)[1].ids, test.ids)
    assert not np.array_equal(load("digits", seed=2)[1].ids, test.ids)


def test_ids_name_the_same_image_whatever_the_cut() -> None:
    one, other = (load("digits", seed=seed)[0] for seed in (1, 2))
    shared = np.intersect1d(one.ids, other.ids)
    a, b = (d.take(np.flatnonzero(np.isin(d.ids, shared))) for d in (one, other))
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.x, b.x)


@pytest.mark.parametrize(("suffix", "below"), [("", ""), (".gz", ""), ("", "FashionMNIST/raw")])
def test_fashion_mnist_is_read_from_a_folder(nowhere: Path, suffix: str, below: str) -> None:
    write_fashion(nowhere / "mine" / below, suffix=suffix)
    train, test = load("fashion-mnist", nowhere / "mine")
    assert (train.x.shape, test.x.shape) == ((30, 1, 28, 28), (20, 1, 28, 28))
    assert train.x.dtype == np.float32
    assert train.x.min() == pytest.approx(-0.2860 / 0.3530)
    assert train.x.max() == pytest.approx((1 - 0.2860) / 0.3530)
    np.testing.assert_array_equal(np.concatenate([train.ids, test.ids]), np.arange(50))


def test_fashion_mnist_looks_in_the_debian_folder_and_then_in_the_cache(nowhere: Path) -> None:
    write_fashion(nowhere / "cache" / "roughfed", train=12)
    assert len(load("fashion-mnist")[0]) == 12
    write_fashion(nowhere / "debian", train=11, suffix=".gz")
    assert len(load("fashion-mnist")[0]) == 11


def test_fashion_mnist_that_is_nowhere_says_how_to_get_it(nowhere: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load("fashion-mnist")
    assert "dataset-fashion-mnist" in refusal.value.cure


def test_fashion_mnist_is_downloaded_into_the_cache_at_last(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: str, download: bool) -> None:
        assert download
        write_fashion(Path(root) / "FashionMNIST" / "raw", train=13)

    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(FashionMNIST=download))
    assert len(load("fashion-mnist")[0]) == 13
    assert (nowhere / "cache" / "roughfed" / "FashionMNIST").is_dir()


def test_a_failed_download_says_what_went_wrong(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: str, download: bool) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(FashionMNIST=download))
    with pytest.raises(ConfigError, match="Error downloading"):
        load("fashion-mnist")


def test_a_folder_that_was_named_is_never_replaced_by_another(nowhere: Path) -> None:
    write_fashion(nowhere / "debian")
    with pytest.raises(ConfigError, match="has no Fashion-MNIST") as refusal:
        load("fashion-mnist", nowhere / "typo")
    assert refusal.value.file == str(nowhere / "typo")


@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mnist_is_read_from_a_folder_or_where_make_puts_it(nowhere: Path, below: str) -> None:
    write_fashion(nowhere / "mine" / below)
    train, test = load("mnist", nowhere / "mine")
    assert (train.x.shape, test.x.shape, train.name) == ((30, 1, 28, 28), (20, 1, 28, 28), "mnist")
    assert train.x.max() == pytest.approx((1 - 0.1307) / 0.3081)
    write_fashion(nowhere / "cache" / "roughfed" / "MNIST" / "raw", train=12)
    assert len(load("mnist")[0]) == 12


def test_mnist_that_is_nowhere_says_how_to_get_it(nowhere: Path) -> None:
    for folder in (None, nowhere):
        with pytest.raises(ConfigError) as refusal:
            load("mnist", folder)
        assert "make mnist" in refusal.value.cure


@pytest.mark.slow
def test_mnist_is_scaled_by_its_own_mean_and_deviation() -> None:
    if mnist.SET.find([cache_folder()]) is None:
        pytest.skip("needs MNIST (run `make mnist`)")
    train, test = load("mnist")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert abs(train.x.mean()) < 1e-3
    assert abs(train.x.std() - 1) < 1e-3


def test_images_of_another_size_are_refused(nowhere: Path) -> None:
    write_fashion(nowhere / "small", side=8)
    with pytest.raises(ConfigError, match="do not fit"):
        load("fashion-mnist", nowhere / "small")


def test_labels_out_of_range_are_refused(nowhere: Path) -> None:
    write_fashion(nowhere / "bad")
    (nowhere / "bad" / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(30, 10, dtype=np.uint8)))
    with pytest.raises(ConfigError, match=r"want 0\.\.9"):
        load("fashion-mnist", nowhere / "bad")


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


def test_idx_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a-ubyte"
    path.write_bytes(GOOD)
    np.testing.assert_array_equal(read_idx(path), np.arange(24).reshape(2, 3, 4))


BAD_IDX = {
    "empty": (b"", "not an IDX"),
    "half a magic": (b"\0\0\x08", "not an IDX"),
    "wrong magic": (b"\x89PNG" + GOOD, "not an IDX"),
    "floats": (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "type 0x0d"),
    "no axes": (b"\0\0\x08\0", "0 axes"),
    "too many axes": (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"x", "255 axes"),
    "header cut": (GOOD[:9], "inside its header"),
    "data cut": (GOOD[:-1], "ends early"),
    "too long": (GOOD + b"x", "goes on"),
    "nothing in it": (b"\0\0\x08\x01\0\0\0\0", "announces 0 bytes"),
    "4 GiB announced": (b"\0\0\x08\x01\xff\xff\xff\xff", "announces 4294967295 bytes"),
    "overflowing product": (b"\0\0\x08\x04" + b"\xff\xff\xff\xff" * 4, "announces"),
}


@pytest.mark.parametrize("case", BAD_IDX)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files_are_refused_with_the_file_named(tmp_path: Path, case: str, suffix: str) -> None:
    data, cause = BAD_IDX[case]
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    with pytest.raises(ConfigError, match=cause) as refusal:
        read_idx(path)
    assert refusal.value.file == str(path)


@pytest.mark.parametrize(
    "data",
    [
        b"not gzip",
        gzip.compress(GOOD, mtime=0)[:-6],
        gzip.compress(GOOD, mtime=0)[:12],
        b"\x1f\x8b\x08\0" + b"\xff" * 40,
    ],
)
def test_damaged_compression_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_idx(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_idx(tmp_path / "nothing")


def test_unknown_sources_are_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="unknown") as close:
        load("digit")
    assert close.value.cure == "did you mean 'digits'?"
    with pytest.raises(ConfigError) as far:
        load("zzz")
    assert all(name in far.value.cure for name in SOURCES)


def test_digits_are_scikit_learns_and_come_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digits.import_table()

    monkeypatch.setattr(digits, "import_table", lambda: pytest.fail("scikit-learn was imported"))

    np.testing.assert_array_equal(digits.read_table(), whole)
    assert whole.shape == (1797, 65)


def test_digits_are_found_if_scikit_learn_moves_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load("digits", seed=1)[0]

    monkeypatch.setattr(digits, "FILE", Path("elsewhere") / "digits.csv.gz")

    np.testing.assert_array_equal(load("digits", seed=1)[0].x, before.x)


def test_digits_read_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        load("digits", tmp_path)


def test_a_dataset_whose_parts_do_not_fit_is_refused() -> None:
    x, y = np.zeros((3, 2), dtype=np.float32), np.zeros(3, dtype=np.int64)
    with pytest.raises(ConfigError, match="differ in length"):
        Dataset(x, y[:2], np.arange(3), 2, "mine")
    with pytest.raises(ConfigError, match=r"want 0\.\.1"):
        Dataset(x, y + 2, np.arange(3), 2, "mine")
    with pytest.raises(ConfigError, match="regression"):
        _ = Dataset(x, y.astype(np.float32), np.arange(3), 0, "mine").labels


def test_take_keeps_everything_together() -> None:
    data = Dataset(
        np.arange(8, dtype=np.float32).reshape(4, 2), np.arange(4), np.arange(10, 14), 4, "mine", np.arange(4)[::-1]
    )
    part = data.take(np.array([3, 1]))
    assert part.ids.tolist() == [13, 11]
    assert part.y.tolist() == [3, 1]
    assert part.x[:, 0].tolist() == [6.0, 2.0]
    assert part.true_y is not None
    assert part.true_y.tolist() == [0, 2]


def test_importing_the_rooms_loads_neither_torch_nor_sklearn() -> None:
    code = (
        "import sys, roughfed.data.federate, roughfed.data.rough, roughfed.models, roughfed.report.html;"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'torchvision', 'sklearn', 'scipy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
