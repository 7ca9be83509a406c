"""Opening many values at once: the same as opening them one by one, also where some do not verify."""

from __future__ import annotations

import os
from ctypes.util import find_library

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.trust import batch_opening
from hashmatch.trust.batch_opening import open_batch
from hashmatch.trust.openssl_kernels import NONCE_SIZE

KEY = bytes(range(32))
CONTEXT = b"segment/7/"


def sealed(number: int, plain: bytes, *, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    return AESGCM(key).encrypt(number.to_bytes(NONCE_SIZE, "big"), plain, context)


def compiled():
    """The library that is driven from compiled code. One that is there and not used has failed its own test."""
    library = batch_opening._library()
    if library is None and find_library("crypto") is None:
        pytest.skip("no OpenSSL is to be found here")
    assert library is not None
    return library


@pytest.fixture(params=["compiled", "one by one"])
def way(request, monkeypatch):
    """Both ways of opening; the first is skipped where there is no OpenSSL to drive."""
    if request.param == "one by one":
        monkeypatch.setattr(batch_opening, "_library", lambda: None)
    else:
        compiled()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("largest", [70_000, 300_000])
def test_values_open_in_order(largest: int):
    numbers = [0, 1, 255, 256, 2**32 - 1, 2**40]
    plain = [os.urandom(length) for length in (0, 1, 15, 16, 17, largest)]
    opened = open_batch(KEY, numbers, [sealed(*each) for each in zip(numbers, plain, strict=True)], CONTEXT)
    assert opened.parts() == plain
    assert opened.good.all()
    assert opened.starts.tolist()[-1] == len(opened.data) == sum(map(len, plain))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "bad",
    [
        None,
        b"",
        b"short",
        sealed(1, b"x")[:-1],
        sealed(1, b"x") + b"\0",
        sealed(2, b"of another number"),
        sealed(1, b"of another key", key=bytes(32)),
        sealed(1, b"of another place", context=b"segment/8/"),
        bytes(100),
    ],
    ids=["missing", "empty", "shorter than a tag", "truncated", "longer", "swapped", "key", "place", "zeros"],
)
def test_what_does_not_verify_is_not_good_and_leaves_its_neighbours_alone(bad: bytes | None):
    opened = open_batch(KEY, [0, 1, 2], [sealed(0, b"first"), bad, sealed(2, b"last")], CONTEXT)
    assert opened.parts() == [b"first", None, b"last"]
    assert opened.good.tolist() == [True, False, True]
    # Nothing of what did not verify is handed out.
    assert opened.data.tobytes() == b"firstlast"


@pytest.mark.usefixtures("way")
def test_nothing_opens_to_nothing():
    opened = open_batch(KEY, [], [], CONTEXT)
    assert opened.parts() == []
    assert opened.starts.tolist() == [0]


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_both_ways_agree_also_on_damage(plain: list[bytes], data: st.DataObject):
    library = compiled()
    values = [bytearray(sealed(number, each)) for number, each in enumerate(plain)]
    for value in values:
        if data.draw(st.booleans()):
            bit = data.draw(st.integers(0, len(value) * 8 - 1))
            value[bit // 8] ^= 1 << (bit % 8)
    given_values = [bytes(each) for each in values]
    arguments = (KEY, range(len(values)), given_values, CONTEXT)
    expected = batch_opening._one_by_one(*arguments).parts()
    for few_bytes in (0, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batch_opening, "_FEW_BYTES", few_bytes)
            assert library.open(*arguments).parts() == expected


@pytest.mark.parametrize("way", ["open_all", "open_few"])
def test_a_library_that_opens_wrongly_is_not_used(monkeypatch, way: str):
    """Whatever calls itself libcrypto has to open what was sealed, and nothing else, before it is trusted."""
    compiled()
    batch_opening._library.cache_clear()
    monkeypatch.setattr(batch_opening, way, lambda *_: 0)
    try:
        assert batch_opening._library() is None
    finally:
        batch_opening._library.cache_clear()


def test_where_no_library_is_found_values_open_all_the_same(monkeypatch):
    batch_opening._library.cache_clear()
    monkeypatch.setattr(batch_opening.ctypes.util, "find_library", lambda _: None)
    try:
        assert batch_opening._library() is None
        assert open_batch(KEY, [3], [sealed(3, b"value")], CONTEXT).parts() == [b"value"]
    finally:
        batch_opening._library.cache_clear()
