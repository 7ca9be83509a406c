"""Answers hashes of videos: those of which enough frames are near the frames of one listed video.

Frames are searched and confirmed like PDQ codes; the source keys of what is found tell which videos they are of. What
could not be searched or read is counted as if all of it belonged to the video that has the most frames already: only if
that would make up the share does it stand in the way of a negative.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.index.perceptual import Near
from hashmatch.matching.columns import ColumnAnswer
from hashmatch.matching.evaluation import conclude
from hashmatch.matching.findings import Finding
from hashmatch.matching.nearness import Flaw, Nearness, Numbers, listed, search, suppressed_values, with_flaws
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Opinion, Statement
from hashmatch.model.verdicts import Cause, Verdict
from hashmatch.model.videos import Frame, SharedFrames, is_enough, usable_frames
from hashmatch.store.supply import Supply
from hashmatch.store.suppressions import Suppression

# How many frames of listed videos the frames of a question may lie near, a frame counting once for each pair of videos
# that share it. Some tens of megabytes; beyond it a frame counts as not searched.
_MAXIMUM_SIGHTINGS = 2_000_000
_NAME_BYTES = hashlib.sha256().digest_size


class VideoQuestion:
    """A question about hashes of videos, answered in two steps like a `ColumnQuestion`."""

    def __init__(self, view: View, videos: Sequence[Sequence[Frame]], nearness: Nearness) -> None:
        self._view = view
        self._nearness = nearness
        self._reach = nearness.reach(view, Algorithm.VPDQ)
        self._doubts = view.doubts_about(Algorithm.VPDQ)
        self._gave_up = False
        self.count = len(videos)
        # What each video has that can be searched, and why another has nothing.
        self._searched: dict[int, list[bytes]] = {}
        self._flawed: dict[int, Flaw] = {}
        for number, frames in enumerate(videos if self._reach else ()):
            usable = usable_frames(frames, nearness.minimum_quality)
            if usable:
                self._searched[number] = usable
            else:
                self._flawed[number] = _flaw_of(frames, nearness.minimum_quality)

    def probe(self) -> bool:
        """Whether `confirm` has anything to do; searching is left to it, because it takes long."""
        return bool(self._searched)

    def needs_store(self, supply: Supply) -> bool:  # noqa: ARG002
        """Whether `confirm` takes so long that it belongs on a thread."""
        return bool(self._searched)

    def give_up(self) -> ColumnAnswer:
        """The answer without what is still being searched, which is NOT_DETERMINED. Ends a `confirm` on its way."""
        self._gave_up = True
        return self._answer(dict.fromkeys(self._searched, _undetermined(Flaw.UNFINISHED)))

    def confirm(self, *, source_keys: bool = True) -> ColumnAnswer:  # noqa: ARG002
        """Search, and settle what was found. Opinions name the keys of videos in any case: they tell them apart."""
        owners = np.repeat(list(self._searched), [len(usable) for usable in self._searched.values()])
        packed = b"".join(code for usable in self._searched.values() for code in usable)
        codes = np.frombuffer(packed, np.uint8).reshape(-1, Algorithm.VPDQ.digest_size)
        reach = self._reach
        near = search(self._view, Algorithm.VPDQ, codes, reach, self._nearness, lambda: self._gave_up)
        if self._gave_up:
            return self.give_up()
        findings, finding_of = listed(self._view, Algorithm.VPDQ, near.codes, source_keys=True)
        suppressed = suppressed_values(self._view, Algorithm.VPDQ, codes)
        seen = _Sightings(findings, finding_of, owners, near, reach, suppressed)
        return self._answer(
            {number: _finding(self._view, number, len(usable), seen) for number, usable in self._searched.items()}
        )

    def _answer(self, findings: Mapping[int, Finding]) -> ColumnAnswer:
        told = {**findings, **{number: _undetermined(flaw) for number, flaw in self._flawed.items()}}
        positions = sorted(told)
        return ColumnAnswer(
            self.count,
            self._doubts,
            np.array(positions, np.int64),
            np.arange(len(positions)),
            tuple(told[position] for position in positions),
            len(positions),
            listed=np.array([_name(told[position]) for position in positions], np.uint8).reshape(-1, _NAME_BYTES),
        )


def _name(finding: Finding) -> list[int]:
    """What stands for the listed videos that a finding is of: they have no one value."""
    videos = sorted({(opinion.list_id, opinion.source_key) for opinion in finding.opinions})
    return list(hashlib.sha256(repr(videos).encode()).digest())


def _undetermined(flaw: Flaw) -> Finding:
    return Finding(Verdict.NOT_DETERMINED, causes=flaw.causes)


def _flaw_of(frames: Iterable[Frame], minimum_quality: int) -> Flaw:
    """Why none of the frames is usable."""
    return Flaw.DEGENERATE if any(frame.quality >= minimum_quality for frame in frames) else Flaw.LOW_QUALITY


class _Video(NamedTuple):
    """A listed video, by the key of its entry; an entry of which a body says several things counts once for each."""

    list_id: str
    source_key: str
    said: Statement


class _Unread(NamedTuple):
    """What of a list could not be read: why, and which of the frames that were searched it concerns."""

    causes: dict[Cause, None]
    frames: set[int]


class _Sightings:
    """Which listed videos the frames of each asked video were seen in, and what may have been missed.

    `near` is what is near the frames, `owners` the asked video of each of them; `findings` and `finding_of` are what
    the lists say of the values found; `suppressed` are the frames that are themselves suppressed.
    """

    def __init__(
        self,
        findings: Sequence[Finding],
        finding_of: Numbers,
        owners: Numbers,
        near: Near,
        reach: Mapping[str, int],
        suppressed: Mapping[int, Suppression],
    ) -> None:
        self.videos: list[_Video] = []
        # On each listed video the opinion; that of the latest change where its frames differ.
        self.opinions: list[Opinion] = []
        # By asked video the listed ones that it shares frames with.
        self.seen: dict[int, list[int]] = defaultdict(list)
        self.suppressed: set[int] = set()
        # By asked video, and by asked video and list.
        self.unfinished: Counter[int] = Counter()
        self.unread: dict[tuple[int, str], _Unread] = {}
        self._numbers: dict[_Video, int] = {}
        videos_of = [self._number_videos(finding) for finding in findings]
        order = np.argsort(near.distances, kind="stable")
        order = order[finding_of[near.numbers[order]] >= 0]
        found = finding_of[near.numbers[order]]
        sizes = np.array([len(numbers) for numbers in videos_of], np.int64)
        kept = np.cumsum(sizes[found]) <= _MAXIMUM_SIGHTINGS
        self.unfinished.update(owners[np.union1d(near.exceeded, near.queries[order[~kept]])].tolist())
        self._note_gaps(findings, found, owners, near, order, reach)
        order, found = order[kept], found[kept]
        # One row for each pair of an asked frame and a listed video with a frame near it.
        amounts = sizes[found]
        rows = np.repeat(order, amounts)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(amounts) - amounts, amounts)
        flat = np.array([number for numbers in videos_of for number in numbers], np.int64)
        videos = flat[np.repeat((np.cumsum(sizes) - sizes)[found], amounts) + place]
        limits = np.array([reach[video.list_id] for video in self.videos], np.int64)
        within = near.distances[rows] <= limits[videos]
        if suppressed:
            within &= self._may_match(near.queries[rows], videos, owners, suppressed)
        rows, videos = rows[within], videos[within]
        asked, equal = owners[near.queries[rows]], near.distances[rows] == 0
        # By asked and listed video: how many frames asked are matched, how many of those by equality, and how many
        # frames listed are matched.
        self.asked_matched = _count_distinct(asked, videos, near.queries[rows])
        self.asked_equal = _count_distinct(asked[equal], videos[equal], near.queries[rows[equal]])
        self.listed_matched = _count_distinct(asked, videos, near.numbers[rows])
        for owner, video in self.asked_matched:
            self.seen[owner].append(video)

    def _number_videos(self, finding: Finding) -> list[int]:
        numbers = []
        for opinion in finding.opinions:
            video = _Video(opinion.list_id, opinion.source_key, opinion.statement._replace(since_generation=0))
            number = self._numbers.setdefault(video, len(self._numbers))
            if number == len(self.videos):
                self.videos.append(video)
                self.opinions.append(opinion)
            elif opinion.since_epoch > self.opinions[number].since_epoch:
                self.opinions[number] = opinion
            numbers.append(number)
        return numbers

    def _may_match(
        self, frames: Numbers, videos: Numbers, owners: Numbers, suppressed: Mapping[int, Suppression]
    ) -> npt.NDArray[np.bool_]:
        """Which pairs of an asked frame and a listed video stand although some of the frames are suppressed."""
        stands = np.ones(len(frames), np.bool_)
        for at in np.flatnonzero(np.isin(frames, list(suppressed))).tolist():
            frame = int(frames[at])
            if suppressed[frame].covers(self.videos[videos[at]].list_id):
                stands[at] = False
                self.suppressed.add(int(owners[frame]))
        return stands

    def _note_gaps(
        self,
        findings: Sequence[Finding],
        found: Numbers,
        owners: Numbers,
        near: Near,
        order: Numbers,
        reach: Mapping[str, int],
    ) -> None:
        """Note what is suppressed or could not be read of the pairs in `order`, which have the findings `found`."""
        gaps = np.fromiter((each.suppressed or bool(each.causes) for each in findings), np.bool_, len(findings))
        for at in np.flatnonzero(gaps[found]).tolist():
            finding, frame = findings[found[at]], int(near.queries[order[at]])
            owner = int(owners[frame])
            if finding.suppressed:
                self.suppressed.add(owner)
            for cause in finding.causes:
                if near.distances[order[at]] <= reach[cause.list_id]:
                    unread = self.unread.setdefault((owner, cause.list_id), _Unread({}, set()))
                    unread.causes[cause] = None
                    unread.frames.add(frame)


def _count_distinct(owners: Numbers, videos: Numbers, members: Numbers) -> dict[tuple[int, int], int]:
    """How many distinct members each pair of an owner and a video has."""
    rows = np.unique(np.stack((owners, videos, members)), axis=1)
    pairs, counts = np.unique(rows[:2], axis=1, return_counts=True)
    return dict(zip(zip(*pairs.tolist(), strict=True), counts.tolist(), strict=True))


def _finding(view: View, asked: int, frames: int, seen: _Sightings) -> Finding:
    """The finding on an asked video that has so many usable frames."""
    told: dict[tuple[str, Statement], Opinion] = {}
    most: Counter[str] = Counter()
    for number in seen.seen.get(asked, ()):
        video, pair = seen.videos[number], (asked, number)
        shared = SharedFrames(frames, seen.asked_matched[pair], video.said.frames, seen.listed_matched[pair])
        most[video.list_id] = max(most[video.list_id], shared.asked_matched)
        definition = view.lists[video.list_id].state.definition
        if is_enough(shared.asked_matched, frames, definition.minimum_asked_share) and is_enough(
            shared.listed_matched, shared.listed, definition.minimum_listed_share
        ):
            near = seen.asked_equal.get(pair, 0) < frames
            opinion = seen.opinions[number]._replace(near=near, video=shared)
            # Of videos of one list that say the same only the one that shares most is told.
            said = (video.list_id, video.said._replace(frames=0))
            if said not in told or _closeness(opinion) > _closeness(told[said]):
                told[said] = opinion
    unfinished = seen.unfinished[asked]
    unread: list[Cause] = []
    doubtful = False
    for list_id, loaded in view.carriers(Algorithm.VPDQ).items():
        gap = seen.unread.get((asked, list_id), _Unread({}, set()))
        possible = min(frames, most[list_id] + unfinished + len(gap.frames))
        if is_enough(possible, frames, loaded.state.definition.minimum_asked_share):
            unread += gap.causes
            doubtful = doubtful or unfinished > 0
    opinions = sorted(told.values(), key=_closeness, reverse=True)
    finding = conclude(view, opinions, tuple(unread), suppressed=asked in seen.suppressed)
    return with_flaws(finding, Flaw.UNFINISHED if doubtful else Flaw(0))


def _closeness(opinion: Opinion) -> tuple[float, float]:
    """The shares of a video asked about and of a listed one that are matched."""
    shared = opinion.video
    assert shared is not None
    return shared.asked_matched / shared.asked, shared.listed_matched / shared.listed
