"""What was published, and every answer that was given, held against it by the epoch that the answer names.

An act that failed may have taken effect all the same: its caller was told nothing. So every act carries a tag as its
reason, and what became of it is read in the server's own history once that can be asked again.
"""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hashmatch.v1 import common_pb2

MATCH, NEGATIVE = common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH
UNDETERMINED = common_pb2.VERDICT_NOT_DETERMINED
# Of one kind of fault there may be thousands; a few tell what it is.
_COMPLAINTS = 10


class Said(NamedTuple):
    """What was said of one probe: the verdict, the reasons of its causes, and the lists whose opinions came with it."""

    verdict: int
    reasons: frozenset[int] = frozenset()
    lists: frozenset[str] = frozenset()


class Answer(NamedTuple):
    """One response. `places` are the numbers of the probes that were asked about; `floor` is the highest epoch that
    the same server had named before the question was sent."""

    server: str
    epoch: int
    floor: int
    places: Sequence[int]
    said: Sequence[Said]


@dataclass(frozen=True)
class Published:
    """What is listed: for the number of a probe the lists that have it, and the suppressed probes."""

    listed: Mapping[int, frozenset[str]] = field(default_factory=dict)
    suppressed: frozenset[int] = frozenset()

    def lists(self, place: int) -> frozenset[str]:
        """Whose opinions an answer must have."""
        return frozenset() if place in self.suppressed else self.listed.get(place, frozenset())

    def having(self, list_id: str, places: Iterable[int]) -> Published:
        """With so many more on a list."""
        added = {place: self.listed.get(place, frozenset()) | {list_id} for place in places}
        return replace(self, listed={**self.listed, **added})

    def lacking(self, list_id: str, places: Iterable[int]) -> Published:
        """With so many fewer on a list."""
        removed = {place: self.listed.get(place, frozenset()) - {list_id} for place in places}
        return replace(self, listed={**self.listed, **removed})

    def suppressing(self, places: Iterable[int]) -> Published:
        """With so many more suppressed, in all lists."""
        return replace(self, suppressed=self.suppressed | set(places))

    def lifting(self, places: Iterable[int]) -> Published:
        """With so many fewer suppressed."""
        return replace(self, suppressed=self.suppressed - set(places))


Effect = Callable[[Published], Published]


@dataclass
class Account:
    """What the check came to: how many answers and verdicts on single hashes were checked, and which were wrong."""

    answers: int = 0
    verdicts: Counter[int] = field(default_factory=Counter)
    reasons: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def checked(self) -> int:
        """Verdicts on single hashes."""
        return self.verdicts.total()

    def complain(self, text: str) -> None:
        """Note something wrong."""
        self.wrong += 1
        if len(self.complaints) < _COMPLAINTS:
            self.complaints.append(text)

    def summary(self) -> str:
        """In one line, for people."""
        told = [f"{self.verdicts[MATCH]} match", f"{self.verdicts[NEGATIVE]} no known match"]
        if self.verdicts[UNDETERMINED]:
            reasons = ", ".join(
                common_pb2.UndeterminedReason.Name(each).removeprefix("UNDETERMINED_REASON_")
                for each, _ in self.reasons.most_common()
            )
            told.append(f"{self.verdicts[UNDETERMINED]} not determined ({reasons})")
        told += [f"{count} calls {what}" for what, count in self.failures.most_common()]
        return ", ".join(told)


class History:
    """Acts by epoch, and answers; used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._effects: dict[str, Effect] = {}
        self._epochs: dict[int, str] = {}
        self._unsettled: set[str] = set()
        self._answers: list[Answer] = []
        self._known: dict[tuple[Said, ...], tuple[Said, ...]] = {}
        self._highest: Counter[str] = Counter()
        self.account = Account()

    # ---- what is published

    def attempt(self, tag: str, effect: Effect) -> None:
        """An act is about to be asked for."""
        with self._lock:
            self._effects[tag] = effect
            self._unsettled.add(tag)

    def done(self, tag: str, epoch: int) -> None:
        """It was acknowledged."""
        with self._lock:
            self._epochs[epoch] = tag
            self._unsettled.discard(tag)

    def settle(self, happened: Mapping[str, int]) -> None:
        """What the server's history says: the epochs of tags. Of acts that it does not name nothing came."""
        with self._lock:
            for epoch, tag in self._epochs.items():
                if happened.get(tag, epoch) != epoch:
                    self.account.complain(f"{tag} was acknowledged in epoch {epoch} and stands in {happened[tag]}")
            for tag in self._unsettled & set(happened):
                self._epochs[happened[tag]] = tag
            self._unsettled -= set(happened)

    @property
    def newest(self) -> int:
        """The epoch of the last act that is known to have happened."""
        with self._lock:
            return max(self._epochs, default=0)

    @property
    def unsettled(self) -> bool:
        """Whether there are acts of which nobody knows whether they happened."""
        with self._lock:
            return bool(self._unsettled)

    # ---- what is answered

    def floor(self, server: str) -> int:
        """The highest epoch that a server has named."""
        return self._highest[server]

    def answered(self, answer: Answer) -> None:
        """Keep an answer."""
        with self._lock:
            said = self._known.setdefault(tuple(answer.said), tuple(answer.said))
            self._answers.append(answer._replace(said=said))
            self._highest[answer.server] = max(self._highest[answer.server], answer.epoch)

    def failed(self, what: str, *, wrongly: bool = False) -> None:
        """A call failed, which is never wrong by itself: unless in a way in which it must not."""
        with self._lock:
            self.account.failures[what] += 1
            if wrongly:
                self.account.complain(what)

    def check(self) -> Account:
        """Hold every answer since the last check against what was published. To be called when all acts are settled."""
        with self._lock:
            answers, self._answers = self._answers, []
            tags = dict(self._epochs)
        epochs = sorted(tags)
        states = [Published()]
        for epoch in epochs:
            states.append(self._effects[tags[epoch]](states[-1]))
        for answer in answers:
            # Epochs of which nobody told are those of compaction and renewal, which change nothing.
            self._check(answer, states[bisect.bisect_right(epochs, answer.epoch)])
        return self.account

    def _check(self, answer: Answer, state: Published) -> None:
        account = self.account
        account.answers += 1
        # A server that has just started answers nothing, and names no epoch.
        if answer.epoch and answer.epoch < answer.floor:
            account.complain(f"{answer.server} named epoch {answer.epoch} after {answer.floor}")
        for place, said in zip(answer.places, answer.said, strict=True):
            account.verdicts[said.verdict] += 1
            if said.verdict == UNDETERMINED:
                account.reasons.update(said.reasons)
            why = _wrong(said, state.lists(place) if answer.epoch else frozenset())
            if why:
                account.complain(f"{answer.server}, epoch {answer.epoch}, probe {place}: {why}; said {said}")


def _wrong(said: Said, lists: frozenset[str]) -> str:
    """What is wrong with what was said of a hash that these lists have; empty if nothing."""
    if said.verdict == MATCH:
        if not said.lists <= lists or not said.lists:
            return f"a match of lists that do not have it; {sorted(lists)} do"
        if said.lists != lists and not said.reasons:
            return f"opinions are missing without a word: {sorted(lists)} have it"
        return ""
    if said.verdict == NEGATIVE:
        return f"a negative on what is listed by {sorted(lists)}" if lists else ""
    if said.verdict == UNDETERMINED:
        return "" if said.reasons else "not determined without a cause"
    return "no verdict"
