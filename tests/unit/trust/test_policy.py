"""The policy document: what it grants, and that nothing is granted by mistake."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.model.access import Budget, Permission
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.trust.policy import MAXIMUM_DOCUMENT, PolicyError, parse_policy

IDENTITY = "spiffe://example.org/clients/uploads"
WHOLE = f"""
version = 7

[clients.uploads]
identities = ["{IDENTITY}"]
lists = ["alpha", "beta"]
natures = ["illegal", "test"]
algorithms = ["md5", "pdq"]
jurisdictions = ["NL", ""]
distances = true
feedback = true
opinions = "full"
purposes = ["upload", "rescan"]
not_before = 2026-01-01T00:00:00Z
not_after = 2027-01-01T00:00:00Z

[clients.uploads.budget]
hashes_per_second = 1000.5
burst = 5000
distinct_hashes_per_day = 1000000
hits_per_day = 100
near_duplicates = 50

[clients.analysts]
identities = ["spiffe://example.org/clients/ann", "spiffe://example.org/clients/bob"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
"""


def definition(**stated: object) -> ListDefinition:
    fields = {"list_id": "alpha", "body": "b", "nature": ListNature.ILLEGAL, "max_age": 1.0, "jurisdiction": "NL"}
    return ListDefinition(**{**fields, **stated})  # type: ignore[arg-type]


def test_a_document_says_who_may_see_what_for_what_how_much_and_when() -> None:
    policy = parse_policy(WHOLE, {"uploads": 5})
    assert policy.version == 7
    uploads = policy.by_identity[IDENTITY]
    assert uploads.name == "uploads"
    assert uploads.permission == Permission(
        lists=frozenset({"alpha", "beta"}),
        natures=frozenset({ListNature.ILLEGAL, ListNature.TEST}),
        algorithms=frozenset({Algorithm.MD5, Algorithm.PDQ}),
        jurisdictions=frozenset({"NL", ""}),
        distances=True,
        full_opinions=True,
        feedback=True,
        since_epoch=5,
    )
    assert uploads.purposes == {"upload", "rescan"}
    assert uploads.budget == Budget(1000.5, 5000, 1_000_000, 100, 50)
    assert [uploads.is_valid(moment) for moment in (1767225599.0, 1767225600.0, 1798761599.0, 1798761600.0)] == [
        False,
        True,
        True,
        False,
    ]
    assert set(policy.by_identity) == {IDENTITY, *policy.clients["analysts"].identities}


def test_what_is_not_stated_is_the_least() -> None:
    analysts = parse_policy(WHOLE).clients["analysts"]
    assert not analysts.permission.distances
    assert not analysts.permission.full_opinions
    assert analysts.permission.lists is None
    assert analysts.budget.is_unlimited
    assert analysts.is_valid(0.0)


@pytest.mark.parametrize(
    ("stated", "seen"),
    [
        ({}, True),
        ({"list_id": "gamma"}, False),
        ({"nature": ListNature.EXPLOITATIVE}, False),
        ({"jurisdiction": "DE"}, False),
        ({"jurisdiction": ""}, True),
    ],
)
def test_a_list_is_seen_if_everything_about_it_is_permitted(stated: dict[str, object], seen: bool) -> None:
    assert parse_policy(WHOLE).clients["uploads"].permission.sees(definition(**stated)) is seen


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("version = 7", "", "version"),
        ("version = 7", "version = 0", "version"),
        ("version = 7", "version = 7\nextra = 1", "extra"),
        ("distances = true", "distance = true", "distance"),
        ('lists = ["alpha", "beta"]\n', "", "lists"),
        ('natures = ["illegal", "test"]\n', "", "natures"),
        ('algorithms = ["md5", "pdq"]\n', "", "algorithms"),
        ('jurisdictions = ["NL", ""]\n', "", "jurisdictions"),
        ('["alpha", "beta"]', "[]", "lists"),
        ('["alpha", "beta"]', '["alpha", "*"]', "lists"),
        ('["alpha", "beta"]', '["Alpha"]', "lists"),
        ('["illegal", "test"]', '["ilegal"]', "natures"),
        ('["md5", "pdq"]', '["md6"]', "algorithms"),
        ("[clients.uploads]", '[clients."up loads"]', "clients.up loads"),
        ('"spiffe://example.org/clients/ann"', f'"{IDENTITY}"', "belongs to uploads"),
        ('"spiffe://example.org/clients/ann"', '"a b"', "identities"),
        ('"spiffe://example.org/clients/ann"', '""', "identities"),
        ('["upload", "rescan"]', '["Up"]', "purposes"),
        ("2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "not_after"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00", "time zone"),
        ("hashes_per_second = 1000.5\n", "", "burst"),
        ("hits_per_day = 100", "hits_per_day = 0", "hits_per_day"),
        ("hits_per_day = 100", "hits_a_day = 100", "hits_a_day"),
        ('opinions = "full"', 'opinions = "all"', "opinions"),
        ("version = 7", "version = ", "TOML"),
        ("version = 7", "version = " + "[" * 9_999, "TOML"),
    ],
)
def test_a_document_with_a_mistake_is_none_and_the_mistake_is_named(old: str, new: str, named: str) -> None:
    assert old in WHOLE
    document = WHOLE.replace(old, new, 1)
    if old == "[clients.uploads]":
        document = document.replace("[clients.uploads.budget]", '[clients."up loads".budget]')
    with pytest.raises(PolicyError) as caught:
        parse_policy(document)
    assert any(named in problem for problem in caught.value.problems), caught.value.problems


def test_every_mistake_is_named_at_once() -> None:
    document = WHOLE.replace('"md5"', '"md6"').replace('"illegal"', '"legal"')
    with pytest.raises(PolicyError) as caught:
        parse_policy(document)
    assert len(caught.value.problems) == 2


def test_a_document_is_bounded() -> None:
    with pytest.raises(PolicyError, match="KiB"):
        parse_policy("#" * (MAXIMUM_DOCUMENT + 1))


@given(st.text(max_size=400))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    for document in (text, WHOLE.replace("alpha", text, 1), WHOLE + text):
        with contextlib.suppress(PolicyError):
            parse_policy(document)
