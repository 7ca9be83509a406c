"""What is stated about lists, what is shown of them, and what was done to them."""

from google.protobuf.duration_pb2 import Duration

from hashmatch.v1 import common_pb2, list_service_pb2
from hashmatch.v1 import list_admin_service_pb2 as pb

from .conftest import LONG_AGO, generation, staging

DEFINITION = list_service_pb2.ListDefinition(
    list_id="alpha",
    body="Alpha",
    title="A title",
    nature=common_pb2.LIST_NATURE_SELF_REPORTED,
    scheme="own",
    jurisdiction="NL",
    max_age=Duration(seconds=36 * 3_600),
)


def served():
    freshness = common_pb2.ListFreshness(
        list_id="alpha", generation=4, as_of=LONG_AGO, age=Duration(seconds=86_400), stale=True
    )
    return list_service_pb2.HashList(definition=DEFINITION, generation=generation(), freshness=freshness)


def event(epoch, **fields):
    return pb.HistoryEvent(epoch=epoch, at=LONG_AGO, act="publish", list_id="alpha", actor="carol", **fields)


def test_a_list_is_defined_as_stated(admin, fake):
    run = admin(
        *("list", "define", "alpha", "--body", "Alpha", "--nature", "self-reported", "--max-age", "1d12h"),
        *("--title", "A title", "--scheme", "own", "--jurisdiction", "NL"),
    )
    assert fake.requests == [pb.DefineListRequest(definition=DEFINITION)]
    assert run.out == "Defined alpha of Alpha: self reported, at most 1d12h old, in epoch 1.\n"


def test_a_dry_run_changes_nothing(admin, fake):
    for arguments in (
        ("list", "define", "alpha", "--body", "Alpha", "--nature", "test", "--max-age", "30d"),
        ("list", "withdraw", "alpha", "--reason", "why"),
        ("rollback", "alpha", "--reason", "why"),
        ("withdraw", "alpha", "--key", "1", "--reason", "why"),
    ):
        run = admin(*arguments, "--dry-run")
        assert run.code == 0
        assert run.out.startswith("Would ")
        assert fake.requests[-1].validate_only


def test_a_list_is_withdrawn_with_a_reason(admin, fake):
    fake.answers["WithdrawList"] = pb.WithdrawListResponse(epoch=8)
    assert admin("list", "withdraw", "alpha", "--reason", "ended").out == "Withdrew alpha, in epoch 8.\n"
    assert fake.requests == [pb.WithdrawListRequest(list_id="alpha", reason="ended")]


def test_rolling_back_names_a_generation_or_takes_the_one_before(admin, fake):
    run = admin("rollback", "alpha", "--generation", "2", "--reason", "too many")
    assert run.out == "Rolled alpha back to generation 2, as generation 4 with 1,000 SHA-256, in epoch 14.\n"
    admin("rollback", "alpha", "--reason", "too many")
    assert [request.generation for request in fake.requests] == [2, 0]


def test_all_lists_are_shown(admin, fake):
    unserved = list_service_pb2.HashList(definition=list_service_pb2.ListDefinition(list_id="beta", body="Beta"))
    fake.answers["ListLists"] = list_service_pb2.ListListsResponse(lists=[served(), unserved])
    words = " ".join(admin("list", "show").out.split())
    assert "alpha Alpha self reported 1,000 4 1 day STALE" in words
    assert "beta Beta unspecified not served" in words
    assert [each["list"] for each in admin("list", "show", "--output", "json").json["lists"]] == ["alpha", "beta"]
    assert len(admin("list", "show", "--output", "jsonl").out.splitlines()) == 2
    assert len(admin("list", "show", "--output", "csv").out.splitlines()) == 3


def test_one_list_is_shown_with_what_can_be_rolled_back_to_and_what_is_staged(admin, fake):
    fake.answers["GetList"] = list_service_pb2.GetListResponse(list=served())
    fake.answers["GetHistory"] = pb.GetHistoryResponse(retained=[generation(3), generation(2)], next_page_token="t")
    fake.answers["ListStagings"] = pb.ListStagingsResponse(stagings=[staging()])
    run = admin("list", "show", "alpha", "--output", "json")
    assert run.json["list"] == "alpha"
    assert [each["generation"] for each in run.json["retained"]] == [3, 2]
    assert [each["staging_id"] for each in run.json["stagings"]] == ["0123456789abcdef"]
    words = " ".join(admin("list", "show", "alpha").out.split())
    assert "1 day old: STALE" in words
    assert "Can be rolled back to:" in words
    assert "0123456789abcdef" in words


def test_history_is_read_page_by_page_up_to_the_limit(admin, fake):
    fake.answers["GetHistory"] = [
        pb.GetHistoryResponse(events=[event(9), event(8)], next_page_token="t"),
        pb.GetHistoryResponse(events=[event(7)], next_page_token="u"),
    ]
    run = admin("history", "alpha", "--limit", "3", "--output", "json")
    assert [each["epoch"] for each in run.json["events"]] == [9, 8, 7]
    assert [(each.page_size, each.page_token) for each in fake.requests] == [(3, ""), (1, "t")]


def test_history_says_who_did_what_and_why(admin, fake):
    done = event(9, generation=4, approvers=["alice", "bob"], reason="monthly", added=1_000, removed=5)
    fake.answers["GetHistory"] = pb.GetHistoryResponse(events=[done])
    words = " ".join(admin("history").out.split())
    assert "9 2026-01-01T00:00:00Z publish alpha 4 +1,000 −5 carol alice, bob monthly" in words
    heading, row = admin("history", "--output", "csv").out.splitlines()
    assert heading == "epoch,at,act,list,generation,added,removed,actor,approvers,reason"
    assert row == "9,2026-01-01T00:00:00Z,publish,alpha,4,1000,5,carol,alice bob,monthly"
