"""Short stories with a fixed course, each about one promise. Told by the tests, and again upon every seeded bug."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing

from hashmatch.matching.nearness import Nearness
from hashmatch.model.errors import ErrorReason
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.errors import refused
from tests.integration.model import Delivery, Record
from tests.integration.perceptual import PROFILE, apart, row
from tests.integration.serving import IMPORTER, hash_of, hash_text, stage_requests
from tests.integration.universe import LISTED, MD5, SHA256
from tests.integration.waiting import eventually
from tests.integration.world import World

# Enough that some are let through by the filter: about three in ten thousand.
_UNLISTED, _GONE = 50_000, 20

PDQ = common_pb2.ALGORITHM_PDQ
FULL, INCREMENTAL = list_admin_service_pb2.DELIVERY_MODE_FULL, list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL

Scenario = Callable[[World], None]


def _digests(prefix: str, count: int) -> list[bytes]:
    return [hashlib.sha256(f"{prefix} {number}".encode()).digest() for number in range(count)]


def only_what_is_listed_matches(world: World) -> None:
    """What the filter lets through is no match of itself, whether it comes with few others or with many."""
    listed, unlisted = _digests("listed", 2_000), _digests("unlisted", _UNLISTED)
    world.client.define("large")
    epoch = world.client.deliver(hash_text(listed), "large")
    eventually(lambda: world.client.epoch() >= epoch, "the list is served")
    # What is withdrawn stays in the filter until its base is made anew: for now it is a false alarm each time.
    gone, left = listed[:_GONE], listed[_GONE:]
    request = list_admin_service_pb2.WithdrawEntriesRequest(
        list_id="large", hashes=map(hash_of, gone), reason="a test of false alarms"
    )
    epoch = world.client.act("WithdrawEntries", request).epoch
    eventually(lambda: world.client.epoch() >= epoch, "the withdrawal is served")
    few = world.client.bulk(SHA256, b"".join(gone + unlisted))
    assert not few.match_indexes
    assert not few.undetermined
    # With the listed ones in front there are thousands to settle at once.
    many = world.client.bulk(SHA256, b"".join(left + gone + unlisted))
    assert list(many.match_indexes) == list(range(len(left)))
    assert not many.undetermined


def nothing_is_published_that_cannot_be_read_back(world: World) -> None:
    """A generation of which a block is missing does not become visible, and the one before stays."""
    world.define("alpha")
    world.deliver("alpha", Delivery((Record(LISTED[:1]),), full=True, padded=True))
    world.check()
    with closing(world.redis()) as store:
        before = set(store.keys("hashmatch:b:*"))
        staged = world.stage("alpha", Delivery((Record(LISTED[1:2], label="A"),), full=True, padded=True))
        world.client.approve(staged.staging)
        written = set(store.keys("hashmatch:b:*")) - before
        assert written
        store.delete(min(written))
    unmet = [gate.name for gate in staged.staging.report.gates if not gate.passed]
    refusal = refused(lambda: world.client.publish(staged.staging, accept=unmet))
    assert refusal.reason == ErrorReason.STORE_DAMAGED
    world.check()


def a_store_that_went_back_is_not_followed(world: World) -> None:
    """An old copy of the manifest verifies perfectly; neither a running server nor a new one serves it."""
    world.define("alpha")
    world.deliver("alpha", Delivery((Record(LISTED[:1]),), full=True))
    world.check()
    with closing(world.redis()) as store:
        old = store.get("hashmatch:manifest")
        world.deliver("alpha", Delivery((Record(LISTED[1:2]),), full=False))
        world.check()
        newest = store.get("hashmatch:manifest")
        assert old is not None
        store.set("hashmatch:manifest", old)
        # Refused; after that the server puts the newest back, of which it has kept a copy.
        eventually(
            lambda: "older-epoch" in world.client.page("/metrics").text, "the old manifest is refused", patience=10
        )
        eventually(lambda: store.get("hashmatch:manifest") == newest, "the newest manifest is restored")
        world.check()
        world.server.stop()
        store.set("hashmatch:manifest", old)
        world.client = world.server.start()
        eventually(lambda: world.client.epoch() > 0, "a new server serves")
        world.check()


def a_missing_block_is_no_empty_block(world: World) -> None:
    """What lies in a block that is gone, or might, is not determined; it is never a negative."""
    world.define("alpha")
    world.deliver("alpha", Delivery(tuple(Record((place,)) for place in LISTED), full=True))
    world.check()
    # The archive would heal it within a second.
    for copy in (world.data_dir / "archive").iterdir():
        copy.unlink()
    with closing(world.redis()) as store:
        for key in store.keys("hashmatch:b:*"):
            store.delete(key)
    # Of the other algorithms there is so little that it stays in memory.
    for digest in (digest for algorithm, digest in LISTED if algorithm in (MD5, SHA256)):
        answer = world.client.ask(digest)
        assert answer.verdict == common_pb2.VERDICT_NOT_DETERMINED
        assert {cause.reason for cause in answer.causes} == {common_pb2.UNDETERMINED_REASON_STORE_DAMAGED}
    column = b"".join(digest for algorithm, digest in LISTED if algorithm == SHA256)
    response = world.client.bulk(SHA256, column)
    assert sum(run.count for run in response.undetermined) == response.count


def what_is_suppressed_is_left_out(world: World) -> None:
    """Everywhere or in one list; and what was suppressed counts as new once it is seen again."""
    first, second = LISTED[0], LISTED[4]
    for list_id in ("alpha", "beta"):
        world.define(list_id)
        world.deliver(list_id, Delivery((Record((first,)), Record((second,))), full=True))
    world.suppress([first])
    world.check()
    world.suppress([second], ["alpha"])
    world.check()
    world.lift([first, second])
    world.check()
    # What was lifted in one list stays new there when the next suppression is for another.
    world.suppress([second], ["beta"])
    world.check()
    world.deliver("beta", Delivery((Record((first,)), Record((second,), label="A")), full=True))
    world.check()


def what_came_with_a_delta_is_found(world: World) -> None:
    """What an incremental delivery adds upon a base is answered as what the base has."""
    world.define("alpha")
    world.deliver("alpha", Delivery((Record(LISTED[:1]),), full=True, padded=True))
    world.check()
    world.deliver("alpha", Delivery((Record(LISTED[1:2]),), full=False))
    world.check()
    world.restart_server()
    world.check()


def an_old_list_gives_no_negatives(world: World) -> None:
    """Beyond its maximum age the silence of a list proves nothing, and its matches are marked."""
    world.define("alpha")
    world.deliver("alpha", Delivery((Record(LISTED[:1]), Record(LISTED[4:5])), full=True))
    world.check()
    world.advance()
    world.check()
    world.advance()
    world.check()
    world.deliver("alpha", Delivery((Record(LISTED[1:2]),), full=False))
    world.check()


def what_came_last_holds(world: World) -> None:
    """A label that was changed, an entry that was withdrawn, one that came back: the newest says which."""
    world.define("alpha")
    world.deliver("alpha", Delivery((Record(LISTED[:1]), Record(LISTED[1:2])), full=True, padded=True))
    world.check()
    world.deliver("alpha", Delivery((Record(LISTED[:1], label="A"),), full=False))
    world.check()
    world.withdraw_entries("alpha", LISTED[1:2])
    world.check()
    world.deliver("alpha", Delivery((Record(LISTED[1:2], label="B"),), full=False))
    world.check()
    world.compact()
    world.check()


def what_a_roll_back_brings_counts_as_new(world: World) -> None:
    """Whoever asks for what is newer than the last epoch learns of everything that a roll back made visible again."""
    world.define("alpha")
    world.deliver("alpha", Delivery((Record(LISTED[:1]),), full=True))
    world.deliver("alpha", Delivery((Record(LISTED[1:2]),), full=True))
    world.check()
    world.roll_back("alpha", 0)
    world.check()
    world.withdraw_list("alpha")
    world.check()
    world.roll_back("alpha", 1)
    world.check()


def keys_name_entries(world: World) -> None:
    """An entry is replaced and withdrawn by its key; what others say of its hashes stays."""
    world.define("alpha")
    records = (Record(LISTED[:1], "k1", "A"), Record((LISTED[0], LISTED[4]), "k2", "B"))
    world.deliver("alpha", Delivery(records, full=True, keyed=True))
    world.check()
    world.deliver("alpha", Delivery((Record(LISTED[1:2], "k1", "A"),), full=False, keyed=True))
    world.check()
    world.withdraw_entries("alpha", keys=["k2", "k3"])
    world.check()
    world.deliver("alpha", Delivery((Record((), "k1", removed=True),), full=False, keyed=True))
    world.check()


def nobody_publishes_alone(world: World) -> None:
    """Neither too few approvals, nor the importer's own, nor an unmet gate lets a generation become visible."""
    world.define("alpha")
    world.deliver("alpha", Delivery((Record(LISTED[:1]),), full=True, padded=True))
    staged = world.stage("alpha", Delivery((Record(LISTED[1:2]),), full=True))
    refusal = refused(lambda: world.client.approve(staged.staging, ["importer"]))
    assert refusal.reason == ErrorReason.APPROVER_IS_IMPORTER
    assert refused(lambda: world.client.publish(staged.staging)).reason == ErrorReason.APPROVALS_MISSING
    world.check()
    assert world.publish(staged, hurried=True)
    world.check()


def what_broke_off_is_no_delivery(world: World) -> None:
    """Half a list, whose sender went away, does not remove the other half: it is not even staged."""
    listed = _digests("listed", 200)
    world.client.define("whole")
    epoch = world.client.deliver(hash_text(listed), "whole")
    eventually(lambda: world.client.epoch() >= epoch, "the list is served")
    header = list_admin_service_pb2.StageHeader(list_id="whole", format="hash-text", mode=FULL)
    broken_off = list(stage_requests(header, hash_text(listed[:100])))[:-1]
    refusal = refused(lambda: world.client.act("Stage", iter(broken_off), IMPORTER))
    assert refusal.reason == ErrorReason.DELIVERY_INCOMPLETE
    assert not world.client.act("ListStagings", list_admin_service_pb2.ListStagingsRequest()).stagings


def near_values_are_those_that_are_listed_now(world: World) -> None:
    """What lies within the list's distance matches and nothing else, at once after deltas and withdrawals."""
    codes = _digests("picture", 12)

    def deliver(rows: Iterable[str], mode: int) -> None:
        epoch = world.client.deliver("".join(rows).encode(), "pictures", mode=mode, format="columns", profile=PROFILE)
        eventually(lambda: world.client.epoch() >= epoch, "the delivery is served")

    def matching(bits: int) -> list[int]:
        asked = b"".join(apart(each, bits) for each in codes)
        return list(world.client.bulk(PDQ, asked).match_indexes)

    world.client.define("pictures", maximum_distance=30)
    deliver((row(str(number), each) for number, each in enumerate(codes[:8])), FULL)
    assert [matching(bits) for bits in (0, 30, 31)] == [list(range(8)), list(range(8)), []]
    deliver((row(str(number), codes[number]) for number in range(8, 12)), INCREMENTAL)
    assert [matching(bits) for bits in (0, 30, 31)] == [list(range(12)), list(range(12)), []]
    deliver((row(str(number), removed=True) for number in (0, 5, 9)), INCREMENTAL)
    left = [number for number in range(12) if number not in (0, 5, 9)]
    assert [matching(bits) for bits in (0, 30, 31)] == [left, left, []]


def what_was_not_searched_is_said(world: World) -> None:
    """A crowd of near values is answered as far as the limit goes, and the answer says that there are more."""
    (centre,) = _digests("crowd", 1)
    world.client.define("crowd")
    pairs = [(low, high) for low in range(60) for high in range(low)][: Nearness().maximum_confirmed + 1]
    family = (int.from_bytes(centre) ^ 1 << low ^ 1 << high for low, high in pairs)
    rows = "".join(row(str(number), each.to_bytes(32)) for number, each in enumerate(family))
    epoch = world.client.deliver(rows.encode(), "crowd", format="columns", profile=PROFILE)
    eventually(lambda: world.client.epoch() >= epoch, "the delivery is served")
    response = world.client.bulk(PDQ, centre + bytes(32))
    assert list(response.match_indexes) == [0]
    assert [cause.reason for cause in response.findings[0].causes] == [common_pb2.UNDETERMINED_REASON_WORK_LIMIT]
    (degenerate,) = response.undetermined
    assert (degenerate.first, degenerate.count) == (1, 1)


SCENARIOS: tuple[Scenario, ...] = (
    only_what_is_listed_matches,
    nothing_is_published_that_cannot_be_read_back,
    a_store_that_went_back_is_not_followed,
    a_missing_block_is_no_empty_block,
    what_is_suppressed_is_left_out,
    what_came_with_a_delta_is_found,
    an_old_list_gives_no_negatives,
    what_came_last_holds,
    what_a_roll_back_brings_counts_as_new,
    keys_name_entries,
    nobody_publishes_alone,
    what_broke_off_is_no_delivery,
    near_values_are_those_that_are_listed_now,
    what_was_not_searched_is_said,
)
