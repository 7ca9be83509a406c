"""Asking about subjects while more of them are still being read, and what came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from hashmatch_client._hashes import Item
from hashmatch_client._results import ItemAnswer, ListFreshness, Verdict
from hashmatch_client.cli.exits import Exit
from hashmatch_client.cli.subjects import Subject

Ask = Callable[[Sequence[Item]], list[ItemAnswer]]

_BATCH = 1_000
_AHEAD = 4
# How long a batch may wait to fill. Whoever hashes a few large files wants to see the first match before the last file.
_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Checked:
    """A subject and the answer to it; None if it could not be asked about."""

    subject: Subject
    answer: ItemAnswer | None

    @property
    def verdict(self) -> Verdict:
        """The verdict; NOT_DETERMINED for what could not be asked about, or only in part and without a match."""
        if self.answer is None or (self.answer.is_no_known_match and self.subject.problem):
            return Verdict.NOT_DETERMINED
        return self.answer.verdict

    @property
    def is_test(self) -> bool:
        """Whether it is a match on lists of benign fixtures alone."""
        return self.answer is not None and self.answer.is_test_match


@dataclass
class Tally:
    """The counts of a run, and the snapshots that it was answered from."""

    match: int = 0
    test_match: int = 0
    no_known_match: int = 0
    not_determined: int = 0
    epochs: set[int] = field(default_factory=set)
    oldest_list: ListFreshness | None = None

    def add(self, checked: Checked) -> None:
        """Counts one more."""
        match checked.verdict:
            case Verdict.MATCH:
                self.match += 1
                self.test_match += checked.is_test
            case Verdict.NO_KNOWN_MATCH:
                self.no_known_match += 1
            case Verdict.NOT_DETERMINED:
                self.not_determined += 1
        if checked.answer is not None:
            self.epochs.add(checked.answer.snapshot.epoch)
            oldest = checked.answer.snapshot.oldest_list
            if oldest is not None and (self.oldest_list is None or oldest.age > self.oldest_list.age):
                self.oldest_list = oldest

    @property
    def items(self) -> int:
        """How many there were."""
        return self.match + self.no_known_match + self.not_determined

    @property
    def exit(self) -> Exit:
        """The exit code of the run."""
        if self.match:
            return Exit.MATCH
        return Exit.NOT_DETERMINED if self.not_determined else Exit.NOTHING_KNOWN


def ask_about(subjects: Iterable[Subject], ask: Ask, clock: Callable[[], float]) -> Iterator[list[Checked]]:
    """The answers to `subjects` in their order, a batch at a time, a few batches being asked ahead."""
    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="ask")
    under_way: deque[tuple[list[Subject], Future[list[ItemAnswer]]]] = deque()
    try:
        for batch in _batches(subjects, clock):
            under_way.append((batch, pool.submit(_answers, batch, ask)))
            while len(under_way) > _AHEAD or (under_way and under_way[0][1].done()):
                yield _checked(*under_way.popleft())
        while under_way:
            yield _checked(*under_way.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batches(subjects: Iterable[Subject], clock: Callable[[], float]) -> Iterator[list[Subject]]:
    batch: list[Subject] = []
    since = clock()
    for subject in subjects:
        batch.append(subject)
        if len(batch) >= _BATCH or clock() - since >= _PATIENCE:
            yield batch
            batch = []
            since = clock()
    if batch:
        yield batch


def _answers(batch: list[Subject], ask: Ask) -> list[ItemAnswer]:
    items = [subject.item for subject in batch if subject.item is not None]
    return ask(items) if items else []


def _checked(batch: list[Subject], answers: Future[list[ItemAnswer]]) -> list[Checked]:
    remaining = iter(answers.result())
    return [Checked(subject, None if subject.item is None else next(remaining)) for subject in batch]
