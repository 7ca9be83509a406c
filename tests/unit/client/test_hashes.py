"""What may be asked about, and that a hash never shows by accident."""

import pytest
from hashmatch_client import Algorithm, Hash, HashmatchClientError, InvalidHashError, Item
from hashmatch_client._hashes import Scope
from hypothesis import given
from hypothesis import strategies as st

SIZES = {Algorithm.MD5: 16, Algorithm.SHA1: 20, Algorithm.SHA256: 32, Algorithm.SHA512: 64}


@given(st.sampled_from(sorted(SIZES, key=lambda a: a.value)), st.data(), st.booleans())
def test_hexadecimal_of_either_case_and_raw_bytes_are_the_same_hash(algorithm, data, upper):
    value = data.draw(st.binary(min_size=SIZES[algorithm], max_size=SIZES[algorithm]))
    text = value.hex().upper() if upper else value.hex()
    assert Hash.of(algorithm, value) == Hash.of(algorithm, text) == Hash.from_hex(text)
    assert Hash.from_hex(text).hex == value.hex()


@given(st.text(max_size=140))
def test_any_text_is_a_hash_or_an_invalid_hash_error(text):
    try:
        found = Hash.from_hex(text)
    except InvalidHashError:
        return
    assert found.hex == text.lower()


@pytest.mark.parametrize(
    "text",
    ["", "zz" * 16, "0" * 31, " " + "0" * 31, "0x" + "0" * 30, "0 " * 16, "٠" * 32, "-" + "1" * 31],
    ids=["empty", "letters", "short", "blank", "prefix", "spaced", "arabic digits", "sign"],
)
def test_what_merely_resembles_hexadecimal_is_refused(text):
    with pytest.raises(InvalidHashError):
        Hash.of(Algorithm.MD5, text)


def test_an_error_and_a_repr_do_not_repeat_the_value():
    secret = "c0ffee" * 5
    with pytest.raises(InvalidHashError) as caught:
        Hash.of(Algorithm.SHA256, secret)
    assert secret not in str(caught.value)
    assert caught.value.algorithm == "sha256"
    value = Hash.of(Algorithm.MD5, "ab" * 16)
    assert "abab" not in repr(value)
    assert "abab" not in repr(Item((value,)))
    assert r"\xab" not in repr(value)


@pytest.mark.parametrize("algorithm", [Algorithm.VPDQ, Algorithm.UNRECOGNISED])
def test_what_the_client_cannot_carry_is_refused(algorithm):
    with pytest.raises(InvalidHashError):
        Hash(algorithm, b"0" * 32)
    with pytest.raises(InvalidHashError):
        Hash.of(algorithm, "00" * 32)


def test_a_perceptual_hash_has_a_quality_within_bounds():
    assert Hash(Algorithm.PDQ, bytes(32), quality=100).quality == 100
    with pytest.raises(InvalidHashError):
        Hash(Algorithm.PDQ, bytes(32), quality=101)


def test_an_item_has_one_to_sixteen_hashes_and_a_short_reference():
    one = Hash(Algorithm.MD5, bytes(16))
    assert len(Item((one,) * 16).hashes) == 16
    with pytest.raises(InvalidHashError):
        Item(())
    with pytest.raises(InvalidHashError):
        Item((one,) * 17)
    with pytest.raises(ValueError, match="256"):
        Item((one,), "x" * 257)
    with pytest.raises(HashmatchClientError):
        Item.of()


def test_a_scope_takes_no_lone_string_and_no_nonsense():
    with pytest.raises(TypeError):
        Scope.of("demo", 1, 0)
    with pytest.raises(ValueError, match="min_sources"):
        Scope.of((), 0, 0)
    with pytest.raises(ValueError, match="newer_than_epoch"):
        Scope.of((), 1, -1)


def test_a_perceptual_hash_may_have_alternates_of_its_own_size():
    variants = tuple(bytes([number]) * 32 for number in range(7))
    assert Hash(Algorithm.PDQ, bytes(32), 80, variants).alternates == variants
    for algorithm, alternates in (
        (Algorithm.PDQ, (bytes(31),)),
        (Algorithm.PDQ, (*variants, bytes(32))),
        (Algorithm.SHA256, (bytes(32),)),
    ):
        with pytest.raises(InvalidHashError):
            Hash(algorithm, bytes(32), None, alternates)
