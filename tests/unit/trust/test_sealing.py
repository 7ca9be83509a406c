"""Sealing: whatever is not exactly what was sealed, where it was sealed, does not open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.trust.sealing import (
    KEY_SIZE,
    NONCE_SIZE,
    Sealer,
    SealingError,
    SealingKey,
    SealingKeyError,
    generate_key_file,
    load_key_file,
)

NONCE = bytes(NONCE_SIZE)
SEALER = Sealer(bytes(KEY_SIZE))


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_what_was_sealed_opens(plaintext: bytes, context: bytes):
    assert SEALER.open(NONCE, SEALER.seal(NONCE, plaintext, context), context) == plaintext
    assert SEALER.open_with_nonce(SEALER.seal_with_random_nonce(plaintext, context), context) == plaintext


@given(st.binary(min_size=1, max_size=40), st.data())
def test_one_flipped_bit_is_noticed(plaintext: bytes, data: st.DataObject):
    sealed = bytearray(SEALER.seal_with_random_nonce(plaintext, b"place"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(SealingError):
        SEALER.open_with_nonce(bytes(sealed), b"place")


def test_every_shorter_or_longer_value_is_noticed():
    sealed = SEALER.seal_with_random_nonce(b"plaintext", b"")
    for length in range(len(sealed)):
        with pytest.raises(SealingError):
            SEALER.open_with_nonce(sealed[:length], b"")
    with pytest.raises(SealingError):
        SEALER.open_with_nonce(sealed + b"\0", b"")


@pytest.mark.parametrize(
    ("nonce", "context", "key"),
    [
        (b"\1" + NONCE[1:], b"place", bytes(KEY_SIZE)),
        (NONCE, b"another place", bytes(KEY_SIZE)),
        (NONCE, b"", bytes(KEY_SIZE)),
        (NONCE, b"place", b"\1" * KEY_SIZE),
    ],
    ids=["number", "place", "no place", "key"],
)
def test_a_value_opens_only_where_it_was_sealed(nonce: bytes, context: bytes, key: bytes):
    sealed = SEALER.seal(NONCE, b"plaintext", b"place")
    with pytest.raises(SealingError):
        Sealer(key).open(nonce, sealed, context)


def test_the_same_value_is_never_sealed_alike():
    sealed = {SEALER.seal_with_random_nonce(b"plaintext", b"") for _ in range(50)}
    assert len({value[:NONCE_SIZE] for value in sealed}) == len({value[NONCE_SIZE:] for value in sealed}) == 50


def test_keys_differ_by_salt_purpose_and_secret():
    key, other = SealingKey(bytes(KEY_SIZE)), SealingKey(b"\1" * KEY_SIZE)
    derived = {
        key.derive(b"", b"a"),
        key.derive(b"", b"b"),
        key.derive(b"salt", b"a"),
        other.derive(b"", b"a"),
        bytes(KEY_SIZE),
    }
    assert len(derived) == 5
    assert key.derive(b"salt", b"a") == SealingKey(bytes(KEY_SIZE)).derive(b"salt", b"a")
    assert key.key_id != other.key_id


def test_a_key_shows_only_its_id():
    secret = os.urandom(KEY_SIZE)
    shown = f"{SealingKey(secret)!r} {SealingKey(secret)}"
    assert SealingKey(secret).key_id in shown
    assert secret.hex() not in shown
    assert repr(secret) not in shown


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_its_size(size: int):
    with pytest.raises(SealingKeyError):
        SealingKey(bytes(size))


def test_a_made_key_file_is_its_owners_alone_and_loads(tmp_path: Path):
    path = tmp_path / "key"
    generate_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key_file(path).key_id == SealingKey(bytes.fromhex(path.read_text())).key_id


def test_two_made_keys_differ(tmp_path: Path):
    for name in "ab":
        generate_key_file(tmp_path / name)
    assert load_key_file(tmp_path / "a").key_id != load_key_file(tmp_path / "b").key_id


def test_a_key_file_is_never_overwritten(tmp_path: Path):
    path = tmp_path / "key"
    generate_key_file(path)
    before = path.read_bytes()
    with pytest.raises(SealingKeyError, match="cannot make"):
        generate_key_file(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o666, 0o601, 0o610])
def test_a_key_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int):
    path = tmp_path / "key"
    generate_key_file(path)
    path.chmod(mode)
    with pytest.raises(SealingKeyError, match="open to others"):
        load_key_file(path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_key_file_may_be_readable_by_its_group(tmp_path: Path, mode: int):
    """That is how orchestrators mount secrets for a process of another user."""
    path = tmp_path / "key"
    generate_key_file(path)
    path.chmod(mode)
    load_key_file(path)


@pytest.mark.parametrize(
    "content", [b"", b"ab" * 31, b"ab" * 33, b"zz" * 32, b"\xff" * 64, os.urandom(32)], ids=lambda each: len(each)
)
def test_a_key_file_of_another_form_is_refused_and_not_shown(tmp_path: Path, content: bytes):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SealingKeyError) as caught:
        load_key_file(path)
    assert not content or content.decode("latin-1") not in str(caught.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(SealingKeyError, match="nowhere"):
        load_key_file(tmp_path / "nowhere")
