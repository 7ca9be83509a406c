"""The answers of MatchService as messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hashmatch.matching.columns import ColumnAnswer
from hashmatch.matching.findings import Finding
from hashmatch.matching.items import ItemAnswer
from hashmatch.model.opinions import Opinion
from hashmatch.model.verdicts import Cause, Verdict
from hashmatch.service import messages
from hashmatch.service.wire import packed_fixed32, submessage
from hashmatch.v1 import common_pb2, match_service_pb2


class BulkResponse(NamedTuple):
    """An encoded `BulkMatchResponse`, and how many of its hashes match."""

    data: bytes
    matches: int


def encode_bulk_response(response: BulkResponse) -> bytes:
    """What goes over the wire."""
    return response.data


MakeOpinions = Callable[[Iterable[Opinion]], list[common_pb2.Opinion]]


def batch_response(
    request: match_service_pb2.BatchMatchRequest,
    answers: list[ItemAnswer],
    info: common_pb2.SnapshotInfo | None,
    opinions: MakeOpinions,
) -> match_service_pb2.BatchMatchResponse:
    """The answer to a question about items."""
    response = match_service_pb2.BatchMatchResponse(snapshot=info)
    for item, answer in zip(request.items, answers, strict=True):
        result = response.results.add(
            reference=item.reference,
            verdict=common_pb2.Verdict.ValueType(answer.verdict),
            agreement=common_pb2.Agreement.ValueType(answer.agreement),
        )
        if answer.verdict is Verdict.MATCH:
            result.natures.extend(messages.natures(answer.natures))
        for asked, finding in zip(item.hashes, answer.findings, strict=True):
            result.hashes.append(messages.hash_result(asked.algorithm, finding, opinions))
    return response


def all_undetermined(
    sequence: int,
    count: int,
    causes: tuple[Cause, ...],
    info: bytes = b"",
) -> BulkResponse:
    """The answer for a column of which nothing can be determined. `info` is an `encoded_snapshot`, or nothing."""
    everything = match_service_pb2.UndeterminedRange(first=0, count=count, causes=messages.causes(causes))
    rest = match_service_pb2.BulkMatchResponse(sequence=sequence, count=count, undetermined=[everything])
    return BulkResponse(rest.SerializeToString() + info, 0)


def bulk_response(
    sequence: int,
    answer: ColumnAnswer,
    info: bytes,
    encoded: Callable[[Finding, tuple[Cause, ...]], bytes],
) -> BulkResponse:
    """The sparse answer for a column. `info` is an `encoded_snapshot`; `encoded` gives an `encoded_finding`."""
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
    rest = match_service_pb2.BulkMatchResponse(
        sequence=sequence,
        count=answer.count,
        undetermined=[
            match_service_pb2.UndeterminedRange(first=first, count=end - first, causes=messages.causes(causes))
            for first, end, causes in undetermined_runs(answer)
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
    return BulkResponse(b"".join(parts), len(positions))


def encoded_finding(finding: Finding, doubts: tuple[Cause, ...], opinions: MakeOpinions) -> bytes:
    """A finding as a part of an encoded `BulkMatchResponse`."""
    message = match_service_pb2.Finding(
        agreement=common_pb2.Agreement.ValueType(finding.agreement),
        opinions=opinions(finding.opinions),
        causes=messages.causes((*finding.causes, *doubts)),
        natures=messages.natures(finding.natures),
    )
    return submessage(match_service_pb2.BulkMatchResponse.FINDINGS_FIELD_NUMBER, message.SerializeToString())


def encoded_snapshot(info: common_pb2.SnapshotInfo) -> bytes:
    """What an answer was given from as a part of an encoded `BulkMatchResponse`."""
    return submessage(match_service_pb2.BulkMatchResponse.SNAPSHOT_FIELD_NUMBER, info.SerializeToString())


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
