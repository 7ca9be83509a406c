"""The answers of MatchService as messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hashmatch.matching.columns import ColumnAnswer
from hashmatch.matching.findings import Finding, ItemAnswer
from hashmatch.model.opinions import Opinion
from hashmatch.model.verdicts import Cause, Verdict
from hashmatch.service import messages
from hashmatch.service.wire import packed_fixed32, submessage
from hashmatch.v1 import common_pb2, match_service_pb2


class BulkResponse(NamedTuple):
    """An encoded `BulkMatchResponse`, and how many of its hashes match and could not be determined."""

    data: bytes
    matches: int
    undetermined: int


MakeOpinions = Callable[[Iterable[Opinion]], list[common_pb2.Opinion]]


def batch_response(
    references: Iterable[str], answers: Iterable[ItemAnswer], info: bytes, encoded: Callable[[ItemAnswer], bytes]
) -> bytes:
    """The encoded answer to a question about items. `info` is an `EncodedSnapshot.batch`."""
    parts = []
    for reference, answer in zip(references, answers, strict=True):
        result = encoded(answer)
        if reference:
            result += submessage(match_service_pb2.ItemResult.REFERENCE_FIELD_NUMBER, reference.encode())
        parts.append(submessage(match_service_pb2.BatchMatchResponse.RESULTS_FIELD_NUMBER, result))
    parts.append(info)
    return b"".join(parts)


def encoded_answer(answer: ItemAnswer, opinions: MakeOpinions) -> bytes:
    """The answer for an item as an encoded `ItemResult`, but for the caller's reference."""
    return match_service_pb2.ItemResult(
        verdict=common_pb2.Verdict.ValueType(answer.verdict),
        agreement=common_pb2.Agreement.ValueType(answer.agreement),
        hashes=[
            messages.hash_result(algorithm, finding, opinions)
            for algorithm, finding in zip(answer.algorithms, answer.findings, strict=True)
        ],
        natures=messages.natures(answer.natures) if answer.verdict is Verdict.MATCH else None,
    ).SerializeToString()


def all_undetermined(
    sequence: int,
    count: int,
    causes: tuple[Cause, ...],
    info: bytes = b"",
) -> BulkResponse:
    """The answer for a column of which nothing can be determined. `info` is an `EncodedSnapshot.bulk`, or nothing."""
    everything = match_service_pb2.UndeterminedRange(first=0, count=count, causes=messages.causes(causes))
    rest = match_service_pb2.BulkMatchResponse(sequence=sequence, count=count, undetermined=[everything])
    return BulkResponse(rest.SerializeToString() + info, 0, count)


def bulk_response(
    sequence: int,
    answer: ColumnAnswer,
    info: bytes,
    encoded: Callable[[Finding, tuple[Cause, ...]], bytes],
) -> BulkResponse:
    """The sparse answer for a column. `info` is an `EncodedSnapshot.bulk`; `encoded` gives an `encoded_finding`."""
    positions, numbers, found, distances = (
        answer.positions,
        answer.finding_numbers,
        answer.findings,
        answer.distances,
    )
    if any(finding.verdict is not Verdict.MATCH for finding in found):
        verdicts = np.fromiter((finding.verdict for finding in found), np.int64, len(found))
        matched = verdicts[numbers] == Verdict.MATCH
        positions = positions[matched]
        distances = None if distances is None else distances[matched]
        used, numbers = np.unique(numbers[matched], return_inverse=True)
        found = tuple(found[number] for number in used.tolist())
    runs = undetermined_runs(answer)
    rest = match_service_pb2.BulkMatchResponse(
        sequence=sequence,
        count=answer.count,
        undetermined=[
            match_service_pb2.UndeterminedRange(first=first, count=end - first, causes=messages.causes(causes))
            for first, end, causes in runs
        ],
        distances=None if distances is None else distances.tolist(),
    )
    # The parts of an encoded message stand one after the other in any order. Those that many answers share are encoded
    # once, and thousands of indexes are taken over as they are.
    parts = [rest.SerializeToString(), info]
    if len(positions):
        parts.append(packed_fixed32(match_service_pb2.BulkMatchResponse.MATCH_INDEXES_FIELD_NUMBER, positions))
        parts.append(packed_fixed32(match_service_pb2.BulkMatchResponse.FINDING_INDEXES_FIELD_NUMBER, numbers))
        parts += [encoded(finding, answer.doubts) for finding in found]
    return BulkResponse(b"".join(parts), len(positions), sum(end - first for first, end, _ in runs))


def encoded_finding(finding: Finding, doubts: tuple[Cause, ...], opinions: MakeOpinions) -> bytes:
    """A finding as a part of an encoded `BulkMatchResponse`."""
    message = match_service_pb2.Finding(
        agreement=common_pb2.Agreement.ValueType(finding.agreement),
        opinions=opinions(finding.opinions),
        causes=messages.causes((*finding.causes, *doubts)),
        natures=messages.natures(finding.natures),
    )
    return submessage(match_service_pb2.BulkMatchResponse.FINDINGS_FIELD_NUMBER, message.SerializeToString())


class EncodedSnapshot(NamedTuple):
    """What answers are given from, as a part of an encoded response of either call, and the epoch that it names."""

    batch: bytes
    bulk: bytes
    epoch: int

    @classmethod
    def of(cls, info: common_pb2.SnapshotInfo) -> EncodedSnapshot:
        """Encode it."""
        data = info.SerializeToString()
        return cls(
            submessage(match_service_pb2.BatchMatchResponse.SNAPSHOT_FIELD_NUMBER, data),
            submessage(match_service_pb2.BulkMatchResponse.SNAPSHOT_FIELD_NUMBER, data),
            info.epoch,
        )


def undetermined_runs(answer: ColumnAnswer) -> list[tuple[int, int, tuple[Cause, ...]]]:
    """The runs of digests that could not be determined, ascending: first, end (exclusive) and causes."""
    if not answer.doubts and all(finding.verdict is not Verdict.NOT_DETERMINED for finding in answer.findings):
        return []
    # What each digest's causes are, as a number: 0 for determined, 1 for the doubts, 2 and more for a finding's own.
    kinds: list[tuple[Cause, ...]] = [(), answer.doubts]
    of_finding = []
    for finding in answer.findings:
        if finding.verdict is Verdict.MATCH:
            of_finding.append(0)
        elif finding.verdict is Verdict.NOT_DETERMINED:
            kinds.append((*finding.causes, *answer.doubts))
            of_finding.append(len(kinds) - 1)
        else:
            of_finding.append(1 if answer.doubts else 0)
    of_digest = np.full(answer.count, 1 if answer.doubts else 0, np.int64)
    if len(answer.findings):
        of_digest[answer.positions] = np.array(of_finding)[answer.finding_numbers]
    edges = np.concatenate(([0], np.flatnonzero(np.diff(of_digest)) + 1, [answer.count])).tolist()
    return [(first, end, kinds[kind]) for first, end in pairwise(edges) if (kind := int(of_digest[first]))]
