"""What the benchmarks ask is what they say they ask."""

from __future__ import annotations

import numpy as np

from bench.data import BATCH, hash_text, item, label_of, labelled_rows, questions, random_digests, values, write
from hashmatch.v1 import common_pb2, match_service_pb2


def test_a_delivery_has_one_digest_a_line():
    digests = random_digests(5, seed=1, size=20)
    assert hash_text(digests).decode().splitlines() == [value.hex() for value in values(digests)]


def test_a_labelled_delivery_has_the_label_of_each_digest(tmp_path):
    digests = random_digests(9, seed=1)
    expected = [f"{label_of(index)}\t{value.hex()}" for index, value in enumerate(values(digests))]
    assert labelled_rows(digests).decode().splitlines() == expected
    assert write(tmp_path / "delivery", digests, labelled=True).read_text("ascii").splitlines() == expected


def test_a_question_has_as_many_hits_as_stated_and_knows_where():
    listed = random_digests(100, seed=1)
    known = set(values(listed))
    for number, question in enumerate(questions(listed, 3, hits=30, seed=2)):
        request = match_service_pb2.BulkMatchRequest.FromString(question.request)
        asked = values(np.frombuffer(request.column.digests, np.uint8).reshape(BATCH, 32))
        assert request.sequence == question.sequence == number
        assert [position for position, value in enumerate(asked) if value in known] == question.positions
        assert [asked[position] for position in question.positions] == [
            listed[entry].tobytes() for entry in question.entries
        ]


def test_an_item_has_the_hashes_given():
    request = match_service_pb2.BatchMatchRequest.FromString(item(md5=b"m" * 16, sha256=b"s" * 32))
    (asked,) = request.items
    assert [(each.algorithm, each.value) for each in asked.hashes] == [
        (common_pb2.ALGORITHM_MD5, b"m" * 16),
        (common_pb2.ALGORITHM_SHA256, b"s" * 32),
    ]
