"""Subjects are answered in order, in batches, some of them ahead."""

import threading
from datetime import timedelta

import pytest
from hashmatch_client import Agreement, Algorithm, Hash, HashmatchClientError, Item, ItemAnswer, SnapshotInfo, Verdict
from hashmatch_client._results import ListFreshness, ListNature
from hashmatch_client.cli.asking import Tally, ask_about
from hashmatch_client.cli.exits import Exit
from hashmatch_client.cli.subjects import Subject


def subject(number, *, askable=True):
    item = Item((Hash(Algorithm.MD5, number.to_bytes(16)),)) if askable else None
    return Subject(str(number), 1, item)


def answer(verdict=Verdict.NO_KNOWN_MATCH, epoch=1, hours=1):
    freshness = ListFreshness(f"{hours}h", 1, ListNature.ILLEGAL, None, timedelta(hours=hours), stale=False)
    snapshot = SnapshotInfo(epoch, None, None, None, (freshness,), 2)
    return ItemAnswer("", verdict, Agreement.NONE, (), (), snapshot, "")


def test_order_and_place_are_kept_also_of_what_cannot_be_asked():
    asked = []

    def ask(items):
        asked.append(len(items))
        return [answer() for _ in items]

    subjects = [subject(n, askable=n % 3 != 0) for n in range(2_500)]
    checked = [each for batch in ask_about(subjects, ask, lambda: 0.0) for each in batch]
    assert [each.subject for each in checked] == subjects
    assert [each.answer is None for each in checked] == [n % 3 == 0 for n in range(2_500)]
    assert sum(asked) == len([s for s in subjects if s.item])
    assert len(asked) == 3


def test_a_batch_of_nothing_to_ask_is_not_asked():
    def ask(items):
        raise AssertionError

    (batch,) = ask_about([subject(0, askable=False)], ask, lambda: 0.0)
    assert batch[0].verdict is Verdict.NOT_DETERMINED


def test_a_batch_does_not_wait_for_ever_to_fill():
    now = iter(range(100))
    batches = list(ask_about(map(subject, range(4)), lambda items: [answer() for _ in items], lambda: next(now)))
    assert [len(batch) for batch in batches] == [1, 1, 1, 1]


def test_reading_goes_on_while_answers_are_awaited_but_not_without_bound():
    gate = threading.Event()
    read = []

    def subjects():
        for n in range(20_000):
            read.append(n)
            if n == 3_000:
                gate.set()
            yield subject(n)

    def ask(items):
        assert gate.wait(30)
        return [answer() for _ in items]

    results = ask_about(subjects(), ask, lambda: 0.0)
    next(results)
    assert 3_000 < len(read) <= 6_000
    results.close()


def test_a_failure_is_raised_in_its_turn():
    def ask(items):
        raise HashmatchClientError("no")

    with pytest.raises(HashmatchClientError):
        list(ask_about([subject(0)], ask, lambda: 0.0))


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], Exit.NOTHING_KNOWN),
        ([Verdict.NO_KNOWN_MATCH], Exit.NOTHING_KNOWN),
        ([Verdict.NO_KNOWN_MATCH, Verdict.NOT_DETERMINED], Exit.NOT_DETERMINED),
        ([Verdict.NOT_DETERMINED, Verdict.MATCH], Exit.MATCH),
    ],
)
def test_the_exit_code_is_that_of_the_gravest_verdict(verdicts, code):
    tally = Tally()
    for position, verdict in enumerate(verdicts):
        ((checked,),) = ask_about([subject(0)], lambda _: [answer(verdict, position, position)], lambda: 0.0)  # noqa: B023
        tally.add(checked)
    assert tally.exit is code
    assert tally.items == len(verdicts)
    assert tally.epochs == set(range(len(verdicts)))
    if verdicts:
        assert tally.oldest_list.list_id == f"{len(verdicts) - 1}h"
