"""What a caller may not see does not exist for it: changing it leaves every answer as it is, byte for byte."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.policies import Policies
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.matching.columns import ColumnQuestion
from hashmatch.matching.scope import Scope, view
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.vetting import VettingPolicy
from hashmatch.service.identity import Caller
from hashmatch.store.connection import Connection
from hashmatch.store.store import Store
from hashmatch.trust.sealing import SealingKey
from tests.support.clock import ManualClock
from tests.support.desk import Desk, encoded
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import ACTOR, Office

MD5, SHA256, PDQ = Algorithm.MD5, Algorithm.SHA256, Algorithm.PDQ
UPLOADS = Caller("spiffe://test/clients/uploads", authenticated=True)
STRANGER = Caller("spiffe://test/clients/stranger", authenticated=True)
DAY = 86_400.0
PROFILE = """
layout = "tsv"
header = false
short_rows = "blank"
key = [1]
label = [2]
[[hash]]
column = 3
algorithm = "md5"
[[hash]]
column = 4
algorithm = "pdq"
"""
# Seen, and hidden each for another reason.
SEEN = ("seen-one", "seen-two")
HIDDEN = ("hidden-by-id", "hidden-by-nature", "hidden-by-jurisdiction")
POLICY = """
version = {version}
[clients.uploads]
identities = ["spiffe://test/clients/uploads"]
lists = [{lists}]
natures = ["illegal"]
algorithms = ["md5", "pdq"]
jurisdictions = ["NL"]
distances = true
opinions = "full"
"""
ALLOWED = '"seen-one", "seen-two", "hidden-by-nature", "hidden-by-jurisdiction", "not-defined"'


def md5(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


def code(number: int, *, flipped: int = 0) -> bytes:
    """A code of its own for each number, with its lowest bits flipped."""
    value = int.from_bytes(hashlib.sha256(b"%d" % number).digest(), "big") ^ ((1 << flipped) - 1)
    return value.to_bytes(32, "big")


class Scene:
    """Lists that are seen and lists that are not, in a store of their own."""

    def __init__(self, connection: Connection, key: SealingKey) -> None:
        self.clock = ManualClock()
        store = Store(connection, key, namespace=f"t{uuid.uuid4().hex[:12]}")
        policy = VettingPolicy(approvals_required=0)
        self.acts = Acts(store, self.clock, policy, MemoryAudit(), MemoryFloor())
        self.publisher, self.suppressor = Publisher(self.acts), Suppressor(self.acts)
        self.office = Office(store, self.clock, self.publisher, Stager(store, self.clock, policy))
        self.desk = Desk(self.office)
        self._version = 0
        for list_id in (*SEEN, *HIDDEN):
            self.define(list_id)
            self.deliver(list_id, {SEEN[0]: (0, 5), SEEN[1]: (3, 8)}.get(list_id, (4, 12)))
        self.activate()

    def close(self) -> None:
        self.desk.close()

    def activate(self, lists: str = ALLOWED, *, rest: str = "") -> int:
        self._version += 1
        document = POLICY.format(version=self._version, lists=lists) + rest
        return Policies(self.acts).activate(document, ACTOR, "a test").epoch

    def define(self, list_id: str, *, max_age: float = 30 * DAY, title: str = "") -> None:
        self.publisher.define_list(
            ListDefinition(
                list_id=list_id,
                body=f"body of {list_id}",
                nature=ListNature.EXPLOITATIVE if list_id == "hidden-by-nature" else ListNature.ILLEGAL,
                jurisdiction="DE" if list_id == "hidden-by-jurisdiction" else "NL",
                max_age=max_age,
                title=title,
                scheme="scheme",
            ),
            ACTOR,
        )

    def deliver(self, list_id: str, numbers: tuple[int, int], label: str = "A1") -> None:
        rows = (
            "\t".join((f"{list_id}-{number}", label, md5(number).hex(), code(number).hex())) + "\n"
            for number in range(*numbers)
        )
        self.office.deliver("".join(rows), list_id, profile=PROFILE)

    def everything(self, caller: Caller = UPLOADS) -> list[bytes]:
        """All that a caller can learn, encoded."""
        self.desk.follow()
        desk, epochs = self.desk, range(0, 30, 3)
        items = [[(MD5, md5(n)), (PDQ, code(n, flipped=n % 9))] for n in range(14)] + [[(SHA256, code(1))]]
        scopes: list[dict[str, object]] = [
            {},
            {"min_sources": 2},
            {"min_sources": 3},
            {"newer_than_epoch": 4},
            {"natures": [1]},
            {"natures": [2]},
            {"list_ids": ["seen-one"]},
            {"list_ids": ["seen-two", "seen-one"], "min_sources": 2},
            *({"list_ids": ["seen-one", list_id]} for list_id in (*HIDDEN, "not-defined", "no-such-list")),
            {"max_distance": 3},
        ]
        asked: list[Callable[[], object]] = []
        for scope in scopes:
            asked.append(lambda scope=scope: desk.batch(caller, items, **scope))
            for algorithm, make in ((MD5, md5), (PDQ, code), (SHA256, code)):
                asked.append(lambda a=algorithm, m=make, s=scope: desk.bulk(caller, a, [m(n) for n in range(14)], **s))
        asked += [lambda epoch=epoch: desk.snapshot(caller, epoch) for epoch in epochs]
        asked.append(lambda: desk.all_lists(caller))
        asked += [
            lambda list_id=list_id: desk.one_list(caller, list_id) for list_id in (*SEEN, *HIDDEN, "no-such-list")
        ]
        return [encoded(each) for each in asked]


@pytest.fixture
def scene(connection: Connection, sealing_key: SealingKey) -> Iterator[Scene]:
    scene = Scene(connection, sealing_key)
    yield scene
    scene.close()


def add_and_remove(scene: Scene, list_id: str, number: int) -> None:
    scene.deliver(list_id, (number, number + 6), "B2")


def withdraw(scene: Scene, list_id: str, _: int) -> None:
    if scene.office.manifest().lists[list_id].generation is not None:
        scene.publisher.withdraw_list(list_id, ACTOR, "a test")


def roll_back(scene: Scene, list_id: str, _: int) -> None:
    if scene.office.manifest().lists[list_id].retained:
        scene.publisher.roll_back(list_id, 0, ACTOR, "a test")


def suppress(scene: Scene, list_id: str, number: int) -> None:
    scene.suppressor.suppress([(int(MD5), md5(number))], [list_id], ACTOR, "a test")


def lift(scene: Scene, list_id: str, number: int) -> None:
    suppress(scene, list_id, number)
    scene.suppressor.lift_suppression([(int(MD5), md5(number))], ACTOR, "a test")


def make_stale(scene: Scene, list_id: str, _: int) -> None:
    scene.define(list_id, max_age=1.0, title="old")
    scene.clock.advance(0.0)


def define_another(scene: Scene, _: str, number: int) -> None:
    list_id = f"hidden-{number}"
    if list_id not in scene.office.manifest().lists:
        scene.define(list_id)
        scene.deliver(list_id, (number, number + 3))


ACTIONS = (add_and_remove, withdraw, roll_back, suppress, lift, make_stale, define_another)
changes = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.sampled_from(HIDDEN), st.integers(0, 12)), min_size=1, max_size=5
)


@settings(
    max_examples=8,
    deadline=None,
    # Shrinking would take minutes; the changes of an example are few.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=changes)
def test_changing_a_list_that_a_caller_may_not_see_leaves_its_answers_as_they_are(
    connection: Connection, sealing_key: SealingKey, changes: list[tuple[Callable[..., None], str, int]]
) -> None:
    scene = Scene(connection, sealing_key)
    try:
        before = scene.everything()
        for change, list_id, number in changes:
            change(scene, list_id, number)
        assert scene.everything() == before
    finally:
        scene.close()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("list_id", HIDDEN)
def test_no_single_change_of_a_hidden_list_shows(scene: Scene, action: Callable[..., None], list_id: str) -> None:
    before = scene.everything()
    scene.deliver(list_id, (2, 9))
    action(scene, list_id, 3)
    assert scene.everything() == before


def test_a_change_of_a_list_that_is_seen_shows(scene: Scene) -> None:
    before = scene.everything()
    scene.deliver("seen-one", (0, 6))
    assert scene.everything() != before


def test_a_hidden_list_and_one_that_does_not_exist_answer_alike(scene: Scene) -> None:
    scene.desk.follow()

    def answers(list_id: str) -> list[bytes]:
        return [
            encoded(lambda: scene.desk.one_list(UPLOADS, list_id)).replace(list_id.encode(), b"LIST"),
            encoded(lambda: scene.desk.batch(UPLOADS, [[(MD5, md5(1))]], list_ids=[list_id])).replace(
                list_id.encode(), b"LIST"
            ),
        ]

    # As long as the hidden one, because messages carry the lengths of their parts.
    for hidden in HIDDEN:
        assert answers(hidden) == answers("x" * len(hidden))


def test_an_algorithm_that_a_caller_may_not_ask_about_is_one_that_nobody_carries(scene: Scene) -> None:
    scene.desk.follow()
    (result,) = scene.desk.batch(UPLOADS, [[(SHA256, code(1))]]).results
    assert [cause.reason for cause in result.hashes[0].causes] == [4]


def test_who_is_in_no_policy_may_ask_nothing(scene: Scene) -> None:
    scene.desk.follow()
    for ask in (
        lambda: scene.desk.batch(STRANGER, [[(MD5, md5(1))]]),
        lambda: scene.desk.bulk(STRANGER, MD5, [md5(1)]),
        lambda: scene.desk.snapshot(STRANGER),
        lambda: scene.desk.all_lists(STRANGER),
        lambda: scene.desk.one_list(STRANGER, "seen-one"),
    ):
        with pytest.raises(HashmatchError) as caught:
            ask()
        assert caught.value.reason is ErrorReason.NOT_PERMITTED


def test_without_a_policy_callers_over_tls_may_ask_nothing_and_others_everything(office: Office) -> None:
    office.define("list")
    office.deliver_hashes([md5(1)])
    desk = Desk(office)
    desk.follow()
    try:
        assert desk.batch(Caller("loopback:anonymous", authenticated=False), [[(MD5, md5(1))]]).results[0].verdict == 1
        with pytest.raises(HashmatchError) as caught:
            desk.batch(UPLOADS, [[(MD5, md5(1))]])
        assert caught.value.reason is ErrorReason.NOT_PERMITTED
    finally:
        desk.close()


def test_what_comes_into_sight_counts_as_new_and_the_epoch_never_goes_back(scene: Scene) -> None:
    scene.everything()
    old = scene.desk.snapshot(UPLOADS).snapshot.epoch
    granted = scene.activate(ALLOWED + ', "hidden-by-id"')
    scene.desk.follow()
    told = scene.desk.snapshot(UPLOADS, old)
    assert told.snapshot.epoch == granted
    assert not told.changes_complete
    assert [change.act for change in told.changes] == ["activate-policy"]
    (result,) = scene.desk.batch(UPLOADS, [[(MD5, md5(11))]], newer_than_epoch=old).results
    assert [opinion.list_id for opinion in result.hashes[0].opinions] == ["hidden-by-id"]
    taken_away = scene.activate('"seen-one"')
    scene.desk.follow()
    assert scene.desk.snapshot(UPLOADS).snapshot.epoch == taken_away > granted


def test_a_policy_that_changes_nothing_for_a_caller_does_not_show(scene: Scene) -> None:
    before = scene.everything()
    scene.activate()
    assert scene.everything() == before


def test_brief_opinions_have_neither_label_nor_key(scene: Scene) -> None:
    document = POLICY.format(version=9, lists='"*"').replace('"full"', '"brief"').replace("distances = true", "")
    Policies(scene.acts).activate(document, ACTOR, "a test")
    scene.desk.follow()
    (result,) = scene.desk.batch(UPLOADS, [[(PDQ, code(4, flipped=3))]]).results
    assert result.hashes[0].opinions
    for opinion in result.hashes[0].opinions:
        assert (opinion.label, opinion.scheme, opinion.source_key, opinion.updated_on) == ("", "", "", "")
        assert not opinion.HasField("classification")
        assert not opinion.HasField("distance")
        assert opinion.body
        assert opinion.list_id
    with pytest.raises(HashmatchError) as caught:
        scene.desk.batch(UPLOADS, [[(PDQ, code(4))]], max_distance=3)
    assert caught.value.reason is ErrorReason.NOT_PERMITTED


def test_a_client_may_ask_only_in_its_time_and_for_its_purposes(scene: Scene) -> None:
    valid = "purposes = [{}]\nnot_after = 2027-01-15T08:00:10Z\n"
    Policies(scene.acts).activate(POLICY.format(version=9, lists='"*"') + valid.format('"upload"'), ACTOR, "a test")
    scene.desk.follow()
    question = [[(MD5, md5(1))]]
    assert scene.desk.batch(UPLOADS, question).results
    assert scene.desk.batch(UPLOADS, question, purpose="upload").results
    with pytest.raises(HashmatchError, match=r"scope\.purpose"):
        scene.desk.batch(UPLOADS, question, purpose="curiosity")
    Policies(scene.acts).activate(
        POLICY.format(version=10, lists='"*"') + valid.format('"upload", "rescan"'), ACTOR, "a test"
    )
    scene.desk.follow()
    with pytest.raises(HashmatchError, match=r"scope\.purpose"):
        scene.desk.batch(UPLOADS, question)
    assert scene.desk.bulk(UPLOADS, MD5, [md5(1)], purpose="rescan")
    scene.clock.advance(10.0)
    with pytest.raises(HashmatchError) as caught:
        scene.desk.batch(UPLOADS, question, purpose="upload")
    assert caught.value.reason is ErrorReason.NOT_PERMITTED


def test_what_is_given_up_is_only_what_a_list_that_is_seen_may_have(scene: Scene) -> None:
    snapshot = scene.desk.follow()
    policy = snapshot.policy
    assert policy is not None
    scope = Scope(permission=policy.clients["uploads"].permission)
    asked = [md5(number) for number in range(14)]
    question = ColumnQuestion(view(snapshot, scope, now=scene.clock.now()), MD5, b"".join(asked))
    question.probe()
    answer = question.give_up()
    # Hashes 8 to 11 are on hidden lists alone.
    assert answer.positions.tolist() == list(range(8))
