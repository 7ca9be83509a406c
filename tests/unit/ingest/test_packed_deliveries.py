"""A delivery may come packed: what is listed is what is inside, what is on record is what was delivered."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from tests.support.office import Office

DIGESTS = [hashlib.md5(b"%d" % number, usedforsecurity=False).digest() for number in range(3)]
PACKED = gzip.compress("".join(f"{digest.hex()}\n" for digest in DIGESTS).encode())


def stage(office: Office, delivery: bytes):
    return office.stage([delivery[:9], delivery[9:]], format="hash-text")


def test_a_packed_delivery_is_staged_and_its_digest_is_that_of_the_packed_bytes(office: Office) -> None:
    office.define()
    staging = stage(office, PACKED)
    assert staging.report.counts == {int(Algorithm.MD5): len(DIGESTS)}
    assert staging.delivery_sha256 == hashlib.sha256(PACKED).digest()
    assert staging.delivery_bytes == len(PACKED)


def test_a_truncated_packed_delivery_stages_nothing(office: Office) -> None:
    office.define()
    with pytest.raises(HashmatchError, match="truncated") as caught:
        stage(office, PACKED[:-1])
    assert caught.value.reason == ErrorReason.DELIVERY_MALFORMED
    assert office.store.stagings.all() == []
