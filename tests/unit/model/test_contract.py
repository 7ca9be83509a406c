"""The numbers and names of the model are those of the contract: they are sent and stored as they are."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from hashmatch.ingest.feeds.feedback import FeedbackOpinion
from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, EXACT_ALGORITHMS, Algorithm, algorithm_named
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.feeds import FeedOutcome
from hashmatch.model.lists import ListDefinition, ListNature, check_list_id, check_reason
from hashmatch.model.opinions import Agreement, agreement_of
from hashmatch.model.verdicts import UndeterminedReason, Verdict
from hashmatch.model.vetting import DeliveryMode
from hashmatch.v1 import common_pb2, errors_pb2, list_admin_service_pb2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Algorithm, common_pb2.Algorithm),
        (Verdict, common_pb2.Verdict),
        (UndeterminedReason, common_pb2.UndeterminedReason),
        (Agreement, common_pb2.Agreement),
        (ListNature, common_pb2.ListNature),
        (DeliveryMode, list_admin_service_pb2.DeliveryMode),
        (FeedOutcome, list_admin_service_pb2.FeedOutcome),
        (FeedbackOpinion, list_admin_service_pb2.FeedbackOpinion),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_numbers_are_those_of_the_contract(ours, theirs):
    prefix = theirs.Name(0).removesuffix("UNSPECIFIED")
    contract = {name.removeprefix(prefix): number for name, number in theirs.items() if number}
    assert {member.name: member.value for member in ours if member.value} == contract


def test_reasons_are_those_of_the_contract():
    contract = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert {str(reason) for reason in ErrorReason} == contract


def test_no_verdict_has_the_value_that_an_unset_field_has():
    assert 0 not in [verdict.value for verdict in Verdict]


@pytest.mark.parametrize("algorithm", sorted(EXACT_ALGORITHMS))
def test_digests_of_the_empty_file_are_known(algorithm: Algorithm):
    digest = hashlib.new(algorithm.name.lower(), b"", usedforsecurity=False).digest()
    assert EMPTY_FILE_DIGESTS[algorithm] == digest
    assert algorithm.digest_size == len(digest)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_an_algorithm_is_found_by_its_names(algorithm: Algorithm):
    for name in (algorithm.name, algorithm.title, algorithm.title.upper(), algorithm.title.replace("-", "_")):
        assert algorithm_named(name) is algorithm


def test_an_unknown_algorithm_has_no_name():
    with pytest.raises(KeyError):
        algorithm_named("crc32")


@pytest.mark.parametrize(
    ("said", "agreement"),
    [
        ([], Agreement.NONE),
        ([("a", "s", "x")], Agreement.SINGLE),
        ([("a", "s", "x"), ("a", "s", "x")], Agreement.SINGLE),
        ([("a", "s", "x"), ("b", "s", "x")], Agreement.AGREED),
        ([("a", "s", "x"), ("b", "s", "y")], Agreement.DISPUTED),
        ([("a", "s", "x"), ("a", "s", "y")], Agreement.DISPUTED),
        # The same word in two schemes says two things.
        ([("a", "s", "x"), ("b", "t", "x")], Agreement.DISPUTED),
    ],
)
def test_bodies_agree_only_on_the_same_label_of_one_scheme(said, agreement):
    assert agreement_of(iter(said)) is agreement


class _NarrowError(HashmatchError):
    def __init__(self, line: int) -> None:
        super().__init__(
            ErrorReason.DELIVERY_MALFORMED, f"line {line}", metadata={"line": str(line)}, fields={"a": "b"}
        )


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(_NarrowError(7)))
    assert type(error) is _NarrowError
    assert (error.reason, error.message, error.metadata, error.fields, error.retry_after) == (
        ErrorReason.DELIVERY_MALFORMED,
        "line 7",
        {"line": "7"},
        {"a": "b"},
        None,
    )


def test_an_invalid_field_is_named():
    assert invalid_field("scope.x", "too long").fields == {"scope.x": "too long"}


@pytest.mark.parametrize("list_id", ["a", "0", "a.b_c-d", "x" * 63])
def test_list_ids_that_are_fine(list_id: str):
    check_list_id(list_id)


@pytest.mark.parametrize("list_id", ["", "A", ".a", "-a", "a b", "a\n", "ä", "a/b", "a:b", "x" * 64])
def test_list_ids_that_are_refused(list_id: str):
    with pytest.raises(HashmatchError) as caught:
        check_list_id(list_id)
    assert "list_id" in caught.value.fields


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"list_id": "A"}, "list_id"),
        ({"body": ""}, "body"),
        ({"body": "b" * 201}, "body"),
        ({"title": "two\nlines"}, "title"),
        ({"scheme": "\x00"}, "scheme"),
        ({"jurisdiction": "j" * 201}, "jurisdiction"),
        ({"max_age": 0.0}, "max_age"),
        ({"max_age": float("nan")}, "max_age"),
        ({"max_age": float("inf")}, "max_age"),
    ],
)
def test_a_list_is_defined_completely_or_not_at_all(changes, field):
    sound = {"list_id": "a", "body": "b", "nature": ListNature.TEST, "max_age": 60.0}
    ListDefinition(**sound).validate()
    with pytest.raises(HashmatchError) as caught:
        ListDefinition(**sound | changes).validate()
    assert caught.value.reason is ErrorReason.INVALID_FIELD
    assert list(caught.value.fields) == [field]


@pytest.mark.parametrize(("reason", "required", "fine"), [("", False, True), ("  ", True, False), ("why", True, True)])
def test_a_reason_is_stated_where_it_must_be(reason: str, required: bool, fine: bool):
    if fine:
        check_reason(reason, required=required)
    else:
        with pytest.raises(HashmatchError):
            check_reason(reason, required=required)


def test_a_reason_is_not_a_novel():
    with pytest.raises(HashmatchError):
        check_reason("x" * 1_001, required=False)
