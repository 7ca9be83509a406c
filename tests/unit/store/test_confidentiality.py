"""P8: whoever holds everything that lies in Valkey learns nothing of the lists."""

from __future__ import annotations

import base64
import hashlib
import math

import pytest
import redis

from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.feedback import DisputeReason, Feedback, Judgement
from hashmatch.model.floods import Flood
from hashmatch.model.vetting import DeliveryMode
from tests.support.office import ACTOR, Office, row

PLANTED = {
    algorithm: [hashlib.shake_128(b"%d" % number).digest(algorithm.digest_size) for number in range(40)]
    for algorithm in (Algorithm.MD5, Algorithm.SHA256)
}
# Texts of a body, of its entries and of the people: none is for the store's eyes.
TEXTS = [
    "planted-label",
    "planted-key",
    "planted-reason",
    "planted body",
    "planted-file.csv",
    "planted-list",
    "planted-note",
    "planted-client",
]


def dump(valkey: redis.Redis) -> bytes:
    """Everything: names, values, fields, and what a backup of each key holds."""
    everything = []
    for key in valkey.scan_iter(count=1_000):
        everything += [key, valkey.dump(key)]
        if valkey.type(key) == b"hash":
            everything += [part for pair in valkey.hgetall(key).items() for part in pair]
        else:
            everything.append(valkey.get(key))
    return b"\n".join(everything)


def forms(digest: bytes) -> list[bytes]:
    """How a digest could be written; parts of it, so that compression around it does not hide it."""
    base_64 = base64.b64encode(digest).rstrip(b"=")
    return [digest[:8], digest[-8:], digest.hex().encode(), digest.hex().upper().encode(), base_64[:16]]


@pytest.fixture
def dumped(office: Office, suppressor: Suppressor, valkey: redis.Redis) -> bytes:
    """The dump after a life in which everything that can be written was written."""
    office.define("planted-list", "planted body")

    def rows(numbers: range, label: str) -> str:
        return "".join(
            row(
                key=f"planted-key-{number}",
                label=label,
                md5=PLANTED[Algorithm.MD5][number],
                sha256=PLANTED[Algorithm.SHA256][number],
            )
            for number in numbers
        )

    office.deliver(rows(range(30), "planted-label"), "planted-list", file_name="planted-file.csv")
    increment = rows(range(25, 40), "planted-label-2") + row(key="planted-key-3", removed=True)
    office.deliver(increment, "planted-list", mode=DeliveryMode.INCREMENTAL)
    office.stage(rows(range(5), "planted-label"), "planted-list")
    hashes = [(int(Algorithm.MD5), digest) for digest in PLANTED[Algorithm.MD5][:3]]
    suppressor.suppress(hashes, ["planted-list"], ACTOR, "planted-reason")
    office.publisher.withdraw_entries("planted-list", [hashes[1]], ["planted-key-4"], ACTOR, "planted-reason")
    office.store.feedback.put(
        Feedback(
            list_id="planted-list",
            algorithm=int(Algorithm.MD5),
            value=hashes[0][1],
            client="planted-client",
            judgement=Judgement.DISPUTED,
            reason=DisputeReason.OTHER,
            note="planted-note",
            said_at=1.0,
            generation=1,
            source_keys=("planted-key-0",),
            near=False,
        )
    )
    office.store.floods.put(
        [
            Flood(
                list_id="planted-list",
                generation=1,
                algorithm=int(Algorithm.MD5),
                value=hashes[0][1],
                source_keys=("planted-key-0",),
                matches=100,
                usual=1,
                window_seconds=600.0,
                seen_at=1.0,
            )
        ],
        1.0,
    )
    return dump(valkey)


def test_a_dump_shows_no_digest_in_any_form(dumped: bytes):
    for digests in PLANTED.values():
        for digest in digests:
            for form in forms(digest):
                assert form not in dumped


def test_a_dump_shows_no_text(dumped: bytes):
    for text in TEXTS:
        assert text.encode() not in dumped
        assert text.encode("utf-16-le") not in dumped


def test_blocks_look_like_noise(office: Office, valkey: redis.Redis):
    """Entries that only count up leave no pattern behind."""
    office.define()
    office.deliver_hashes(number.to_bytes(32, "big") for number in range(1, 2_000))
    blocks = b"".join(valkey.get(key) for key in valkey.scan_iter(b"hashmatch:b:*", count=1_000))
    counts = [blocks.count(bytes([byte])) for byte in range(256)]
    entropy = -sum(count / len(blocks) * math.log2(count / len(blocks)) for count in counts)
    assert entropy > 7.99


def test_the_same_list_never_lies_in_the_store_twice_alike(office: Office, valkey: redis.Redis):
    office.define("one")
    office.define("two")
    for list_id in ("one", "two"):
        office.deliver_hashes(PLANTED[Algorithm.MD5], list_id)
    values = [valkey.get(key) for key in valkey.scan_iter(b"hashmatch:b:*", count=1_000)]
    assert len(values) == 4
    assert len(set(values)) == 4
