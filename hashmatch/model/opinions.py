"""Opinions: what one list says of one hash, and whether several lists say the same."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from hashmatch.model.feedback import FeedbackCounts
from hashmatch.model.videos import SharedFrames


class Statement(NamedTuple):
    """What a body states about an entry, as it lies in a segment. All texts are the body's own.

    `updated_on` is YYYY-MM-DD or empty. `since_generation` is the generation of the list in which this statement on
    the hash first appeared; a parser leaves it 0 and the publisher fills it in. On the frames of a video, `frames` is
    how many usable ones the video has; otherwise 0.
    """

    label: str = ""
    scheme: str = ""
    jurisdiction: str = ""
    flags: tuple[str, ...] = ()
    updated_on: str = ""
    since_generation: int = 0
    frames: int = 0


# All that one list says of one hash: one statement for each entry that carries it. Empty for a hash that was removed.
StatementSet = tuple[Statement, ...]


class Agreement(enum.IntEnum):
    """Whether the bodies that list a hash say the same; the numbers are those of the contract."""

    NONE = 0
    SINGLE = 1
    AGREED = 2
    DISPUTED = 3


def agreement_of(opinions: Iterable[tuple[str, str, str]]) -> Agreement:
    """The agreement of opinions given as (body, scheme, label).

    Labels are compared only inside one scheme: two schemes cannot be compared without a mapping, and saying AGREED
    there would translate a label silently.
    """
    opinions = list(opinions)
    if len(opinions) < 2:
        return Agreement.SINGLE if opinions else Agreement.NONE
    said = {(scheme, label) for _, scheme, label in opinions}
    if len(said) > 1:
        return Agreement.DISPUTED
    return Agreement.SINGLE if len({body for body, _, _ in opinions}) == 1 else Agreement.AGREED


class Opinion(NamedTuple):
    """What one list says of one hash, as an answer gives it.

    `since_epoch` is the epoch from which the opinion counts as visible. `position` is that of the statement in the
    list's set for the hash; it pairs statements with the source keys of their entries. `near` says that the listed
    value is not equal to the asked one; `distance` how far it is, None where that is not told. `video` says of a video
    how much of it is shared, `feedback` what callers said, where that is told.
    """

    list_id: str
    generation: int
    statement: Statement
    since_epoch: int
    position: int = 0
    source_key: str = ""
    near: bool = False
    distance: int | None = None
    video: SharedFrames | None = None
    feedback: FeedbackCounts | None = None
