"""What a server answered, in the model's terms, and whether it is what the model expects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hashmatch.v1 import common_pb2, match_service_pb2
from tests.integration.model import Cause, Expected, Line, Opinion, Scope, State
from tests.integration.universe import NEAR, UNIVERSE


def read_reported(state: State, response: match_service_pb2.BatchMatchResponse) -> dict[tuple[str, Line], int]:
    """Since when each opinion on the universe is seen, by the answer's own word, which must fit the truth.

    Nobody may miss what became visible: the epoch is never before the one in which it did. It may be later only for
    the reasons that the contract states: a roll back of the list, or the end of a suppression of the hash.
    """
    told: dict[tuple[str, Line], int] = {}
    for list_id, listed in state.lists.items():
        for line in listed.content:
            told[list_id, line] = state.visible.get((list_id, line.place, line.said), 0)
    for place, result in zip(UNIVERSE, response.results, strict=False):
        for opinion in result.hashes[0].opinions:
            line = Line(
                NEAR.get(place, place), (opinion.label, opinion.scheme, opinion.jurisdiction), opinion.source_key
            )
            assert (opinion.list_id, line) in told, "an opinion that no list has"
            listed = state.lists[opinion.list_id]
            assert listed.generation is not None
            first = listed.generation.first[line.place, line.said]
            latest = max(first, listed.visible_since, state.lifted.get(line.place, 0))
            assert told[opinion.list_id, line] <= opinion.since_epoch <= latest
            told[opinion.list_id, line] = opinion.since_epoch
    return told


def opinions(found: Iterable[common_pb2.Opinion]) -> tuple[Opinion, ...]:
    return tuple(
        sorted(
            Opinion(
                each.list_id,
                each.body,
                each.nature,
                each.generation,
                (each.label, each.scheme, each.jurisdiction),
                each.source_key,
                each.stale,
                each.since_epoch,
                each.kind == common_pb2.MATCH_KIND_NEAR,
            )
            for each in found
        )
    )


def causes(found: Iterable[common_pb2.UndeterminedCause]) -> frozenset[Cause]:
    return frozenset(Cause(each.reason, each.list_id) for each in found)


def assert_answer(expected: Expected, answer: match_service_pb2.HashResult, scope: Scope) -> None:
    assert answer.verdict == expected.verdict, f"{scope}: expected {expected}, answered {answer}"
    assert opinions(answer.opinions) == expected.opinions, scope
    assert causes(answer.causes) == expected.causes, scope
    assert answer.suppressed == expected.suppressed, scope
    assert answer.below_min_sources == expected.below_min_sources, scope


def assert_column(expected: Sequence[Expected], response: match_service_pb2.BulkMatchResponse) -> None:
    findings = dict(zip(response.match_indexes, response.finding_indexes, strict=True))
    assert list(response.match_indexes) == sorted(findings)
    undetermined = {
        index: causes(run.causes) for run in response.undetermined for index in range(run.first, run.first + run.count)
    }
    assert sum(run.count for run in response.undetermined) == len(undetermined), "runs overlap"
    for index, each in enumerate(expected):
        if each.verdict == common_pb2.VERDICT_MATCH:
            assert index in findings
            assert index not in undetermined
            finding = response.findings[findings[index]]
            shared = tuple(sorted(opinion._replace(source_key="") for opinion in each.opinions))
            assert opinions(finding.opinions) == shared
            assert finding.agreement == each.agreement
            assert causes(finding.causes) == each.causes
        else:
            assert index not in findings
            assert (index in undetermined) == (each.verdict == common_pb2.VERDICT_NOT_DETERMINED)
            assert undetermined.get(index, frozenset()) == (
                each.causes if each.verdict == common_pb2.VERDICT_NOT_DETERMINED else frozenset()
            )
