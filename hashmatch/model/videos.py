"""Videos as vPDQ has them: the PDQ codes of frames, and how much of two videos is the same.

Order and times of frames decide nothing, so that a cut, a clip and a compilation are found. What counts are the
*usable* frames: of sufficient quality, not degenerate (a black frame is like every other), each distinct code once. The
published rule (vPDQ of ThreatExchange) finds a video where at least 80 % of the usable frames asked about lie within
distance 31 of one of a listed video's, however small a part of the listed video that is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hashmatch.model.algorithms import Algorithm, is_degenerate

FRAME_QUALITY = 50
ASKED_SHARE = 0.8
LISTED_SHARE = 0.0
# Nearly three hours at one frame a second.
MAXIMUM_FRAMES = 10_000
# Far less than one frame in `MAXIMUM_FRAMES`: what a share times a number of frames may be off by.
_ROUNDING = 1e-6


class Frame(NamedTuple):
    """The PDQ code of a frame, 32 bytes, and its quality, 0 to 100."""

    code: bytes
    quality: int


class SharedFrames(NamedTuple):
    """How many usable frames a video that was asked about and a listed one have, and how many of each are matched."""

    asked: int
    asked_matched: int
    listed: int
    listed_matched: int


def usable_frames(frames: Iterable[Frame], minimum_quality: int = FRAME_QUALITY) -> list[bytes]:
    """The distinct codes of the usable frames, in order of their first appearance."""
    good = dict.fromkeys(frame.code for frame in frames if frame.quality >= minimum_quality)
    return [code for code in good if not is_degenerate(Algorithm.VPDQ, code)]


def is_enough(matched: int, frames: int, share: float) -> bool:
    """Whether `matched` of `frames`, and at least one, make up the share."""
    return matched > 0 and matched + _ROUNDING >= share * frames
