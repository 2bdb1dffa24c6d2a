"""What leaves with a codec, and what is fed back: all of a delta arrives over time, and nothing of it twice."""

from pathlib import Path

import numpy as np
import pytest

from roughfed.client.round.encode import encode_file, residual_of
from roughfed.client.round.residual import Residual
from roughfed.codec import CODECS
from roughfed.errors import StorageError, TrainerError
from roughfed.types import RoundHeader
from roughfed.upload_format import Sending

SIZE = 1000
LOSSY = [name for name, row in CODECS.items() if row.lossy]


def header(codec: str, number: int) -> RoundHeader:
    zeros = bytes(32)
    return RoundHeader("run-1", number, zeros, 0, zeros, zeros, codec, "updates", zeros, 60.0)


def whole(codec: str) -> Sending:
    return Sending("", (), ((0, SIZE),), 1, codec, None)


def residual_in(folder: Path) -> Residual:
    return Residual(folder / "r", folder / "spare" / "residual")


def delta_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=SIZE).astype(np.float32)


def leave(folder: Path, codec: str, number: int, delta: np.ndarray) -> np.ndarray:
    """Encode a delta; what the server reads from the payload."""
    source, out = folder / "delta.f32", folder / "update.f32"
    source.write_bytes(delta.tobytes())
    encode_file(
        header(codec, number),
        source,
        out=out,
        residual=residual_in(folder),
        sending=whole(codec),
    )
    assert not source.exists()
    payload = out.read_bytes()
    CODECS[codec].check(payload, SIZE)
    return CODECS[codec].decode(payload, 0, SIZE, size=SIZE)


def propose(residual: Residual, number: int, values: np.ndarray) -> None:
    residual.begin(number, len(values) + 24)[: len(values)] = values  # a codec pads
    residual.propose(number, len(values))


def finalize(folder: Path, number: int, *, accepted: bool) -> None:
    residual_in(folder).finalize(number, accepted)


@pytest.mark.parametrize("codec", LOSSY)
def test_what_was_said_and_the_residual_are_what_was_learned(codec: str, tmp_path: Path) -> None:
    said, learned = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    for number in range(1, 6):
        said += leave(tmp_path, codec, number, delta_of(number))
        learned += delta_of(number)
        finalize(tmp_path, number, accepted=True)
        residual = residual_in(tmp_path).load()
        assert residual is not None
        assert residual.any()
        np.testing.assert_allclose(said + residual, learned, atol=1e-5)


@pytest.mark.parametrize("codec", LOSSY)
def test_a_residual_counts_only_once_the_server_took_the_update(codec: str, tmp_path: Path) -> None:
    leave(tmp_path, codec, 1, delta_of(1))
    assert residual_in(tmp_path).load() is None  # nobody decided yet
    finalize(tmp_path, 1, accepted=True)
    first = np.array(residual_in(tmp_path).load())

    wanted = CODECS[codec].encode(delta_of(2) + first)
    for _ in range(2):  # killed after encoding: trained and encoded again, from the same residual
        leave(tmp_path, codec, 2, delta_of(2))
        assert (tmp_path / "update.f32").read_bytes() == wanted
    finalize(tmp_path, 1, accepted=True)  # an older round's word, said again
    np.testing.assert_array_equal(residual_in(tmp_path).load(), first)
    finalize(tmp_path, 2, accepted=False)
    np.testing.assert_array_equal(residual_in(tmp_path).load(), first)
    finalize(tmp_path, 2, accepted=True)  # too late: it was dropped
    np.testing.assert_array_equal(residual_in(tmp_path).load(), first)


def test_a_proposal_that_nobody_decided_about_is_dropped_at_the_next(tmp_path: Path) -> None:
    residual = residual_in(tmp_path)
    propose(residual, 1, delta_of(1))
    propose(residual, 2, delta_of(2))
    residual.finalize(1, True)
    assert residual.load() is None
    residual.finalize(2, True)
    np.testing.assert_array_equal(residual.load(), delta_of(2))
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["residual.f32"]


def test_an_abandoned_rounds_thread_that_comes_late_leaves_the_next_rounds_proposal_alone(tmp_path: Path) -> None:
    residual = residual_in(tmp_path)
    propose(residual, 2, np.full(SIZE, 2, dtype=np.float32))
    propose(residual, 1, np.full(SIZE, 1, dtype=np.float32))
    residual.finalize(2, accepted=True)
    np.testing.assert_array_equal(residual.load(), np.full(SIZE, 2, dtype=np.float32))


def test_identity_keeps_no_residual_and_changes_no_byte(tmp_path: Path) -> None:
    np.testing.assert_array_equal(leave(tmp_path, "identity", 1, delta_of(1)), delta_of(1))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_training_that_diverged_is_the_trainers_fault(codec: str, bad: float, tmp_path: Path) -> None:
    delta = delta_of(1)
    delta[7] = bad
    with pytest.raises(TrainerError) as failed:
        leave(tmp_path, codec, 1, delta)
    assert failed.value.reason == "not-finite"
    assert not (tmp_path / "update.f32").exists()
    finalize(tmp_path, 1, accepted=True)
    assert residual_in(tmp_path).load() is None


def test_a_delta_of_another_length_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="999 values"):
        leave(tmp_path, "int8", 1, delta_of(1)[:-1])


@pytest.mark.parametrize("damage", [b"", b"\0\0\0", bytes(4 * SIZE - 4)])
def test_a_residual_that_a_power_cut_left_short_is_none(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "residual.f32").write_bytes(damage)
    said = leave(tmp_path, "top-k", 1, delta_of(1))
    np.testing.assert_array_equal(said, CODECS["top-k"].decode(CODECS["top-k"].encode(delta_of(1)), 0, SIZE, size=SIZE))


def test_a_new_run_begins_without_the_old_ones_residual(tmp_path: Path) -> None:
    for run in ("run-1", "run-1", "../run-2"):
        residual = residual_of(tmp_path, run)
        propose(residual, 1, delta_of(1))
        residual.finalize(1, True)
    assert residual_of(tmp_path, "../run-2").load() is not None
    assert residual_of(tmp_path, "run-1").load() is None
    assert {path.name for path in tmp_path.iterdir()} == {"residuals", "spare"}
