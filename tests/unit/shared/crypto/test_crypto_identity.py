"""Identity keys: what a signature covers, and how the key file is kept."""

import stat
from pathlib import Path

import pytest

from roughfed.crypto import identity
from roughfed.crypto.identity import ENROL_DOMAIN, RENEW_DOMAIN, IdentityKey, verify
from roughfed.errors import ConfigError, IdentityError, LocalProtocolError

UPDATE = b"roughfed update v1\0"
KEY = IdentityKey.from_private_bytes(bytes(range(32)))


def test_vector_ed25519_over_domain_and_body() -> None:
    assert KEY.public_key.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    signature = KEY.sign(UPDATE, b"body")
    assert signature.hex() == (
        "6be5767d14858754a85155f6c6ddc28f2d7c43f2ee8c759e82dd4e000df022e6"
        "88eb4d62c14c0f18a9265225fb9529ffaf4e4d539fc24ef891ca4be62a44be0a"
    )
    verify(KEY.public_key, UPDATE, b"body", signature)


@pytest.mark.parametrize(
    ("public_key", "domain", "body", "signature"),
    [
        (KEY.public_key, ENROL_DOMAIN, b"body", KEY.sign(UPDATE, b"body")),
        (KEY.public_key, UPDATE, b"bodY", KEY.sign(UPDATE, b"body")),
        (KEY.public_key, UPDATE, b"body", KEY.sign(UPDATE, b"body")[:-1]),
        (KEY.public_key, UPDATE, b"body", b""),
        (KEY.public_key, UPDATE, b"body", bytes(64)),
        (KEY.public_key[:-1], UPDATE, b"body", KEY.sign(UPDATE, b"body")),
        (IdentityKey.generate().public_key, UPDATE, b"body", KEY.sign(UPDATE, b"body")),
    ],
    ids=["domain", "body", "short", "empty", "zeros", "short-key", "other-key"],
)
def test_wrong_signatures_are_refused(public_key: bytes, domain: bytes, body: bytes, signature: bytes) -> None:
    with pytest.raises(IdentityError) as caught:
        verify(public_key, domain, body, signature)
    assert caught.value.reason == "signature"


@pytest.mark.parametrize("domain", [b"", b"\0", b"no zero", b"a\0b\0", b"a\0b"])
def test_a_domain_ends_in_its_only_zero_byte(domain: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        KEY.sign(domain, b"")


def test_bodies_of_proofs_are_frozen() -> None:
    assert identity.renewal_body(1_700_000_000, b"csr").hex() == "000000006553f100" + b"csr".hex()
    assert identity.enrolment_body(b"t" * 32, b"csr").hex().endswith(b"csr".hex())
    assert len(identity.enrolment_body(b"t" * 32, b"csr")) == 32 + 3
    assert b"t" * 32 not in identity.enrolment_body(b"t" * 32, b"csr")
    assert ENROL_DOMAIN != RENEW_DOMAIN


def test_the_file_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    KEY.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert IdentityKey.load(path).sign(UPDATE, b"x") == KEY.sign(UPDATE, b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["identity.key"]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    KEY.save(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read") as caught:
        IdentityKey.load(path)
    assert "chmod 600" in caught.value.cure


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        IdentityKey.load(path)
    assert caught.value.file == str(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        IdentityKey.load(tmp_path / "identity.key")


def test_repr_shows_no_private_half() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    assert "Private" not in repr(KEY)
