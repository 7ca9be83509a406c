"""The frames of a video as text, in the form in which vPDQ's tools exchange them: a JSON list of `HEX,QUALITY,SECONDS`.

A video is one fingerprint as far as reading it goes: where a frame is unsound the video is refused, because without it
the shares would be others. Taken in are its usable frames, each as a fingerprint of its own.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Collection, Sequence

import msgspec

from hashmatch.formats._collector import Collector
from hashmatch.formats._values import Refused
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement
from hashmatch.model.videos import MAXIMUM_FRAMES, Frame, usable_frames

# How long the text of so many frames may be, with what stands around it.
MAXIMUM_TEXT_OF_FRAMES = 100 * MAXIMUM_FRAMES
_HEX_DIGITS = 2 * Algorithm.VPDQ.digest_size
_FIELDS = 3
_MAXIMUM_QUALITY = 100
_decode = msgspec.json.Decoder(list[str]).decode


def codes_of_video(cell: str | Sequence[str]) -> list[bytes]:
    """The codes of a video's usable frames. `cell` is the text of a JSON list, or its items. Raises `Refused`."""
    frames = _listed(cell) if isinstance(cell, str) else cell
    if len(frames) > MAXIMUM_FRAMES:
        raise Refused("too-many-frames")
    codes = usable_frames(map(_frame_of, frames))
    if not codes:
        raise Refused("no-usable-frame")
    return codes


def add_video(collector: Collector, codes: Collection[bytes], said: Statement, record: int) -> None:
    """Hand out the distinct codes of a video, of which `said` is stated."""
    number = collector.number(said._replace(frames=len(codes)), record)
    for code in codes:
        collector.add(Algorithm.VPDQ, code, number, record)


def _listed(text: str) -> list[str]:
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError):
        raise Refused("bad-frames") from None


def _frame_of(text: str) -> Frame:
    fields = text.split(",")
    if len(fields) != _FIELDS:
        raise Refused("bad-frames")
    code, quality, seconds = map(str.strip, fields)
    try:
        frame = Frame(binascii.unhexlify(code), int(quality))
        sound = 0 <= frame.quality <= _MAXIMUM_QUALITY and math.isfinite(float(seconds)) and float(seconds) >= 0
    except ValueError:
        sound = False
    if not sound or len(code) != _HEX_DIGITS:
        raise Refused("bad-frames")
    return frame
