"""Frames of videos, and the texts in which vPDQ's own tools write them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field

from hashmatch_client._errors import InvalidHashError

MAX_FRAMES = 10_000
_CODE_SIZE = 32
_MAX_QUALITY = 100

# The items of the JSON list, and the lines of the text: the code and the quality in either order behind the number of
# the frame, or without it; the time last.
_FRAME = re.compile(
    r"""\s* (?:
      (?P<code>[0-9a-fA-F]{64}) \s*,\s* (?P<quality>[0-9]{1,3})
    | [0-9]{1,9} \s*,\s* (?P<numbered_code>[0-9a-fA-F]{64}) \s*,\s* (?P<numbered_quality>[0-9]{1,3})
    | [0-9]{1,9} \s*,\s* (?P<first_quality>[0-9]{1,3}) \s*,\s* (?P<last_code>[0-9a-fA-F]{64})
    ) \s*,\s* (?P<seconds>[0-9.eE+-]{1,30}) \s*""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video: its PDQ code, 32 bytes, and the quality that PDQ reported, 0 to 100."""

    pdq: bytes = field(repr=False)
    quality: int

    def __post_init__(self) -> None:
        if len(self.pdq) != _CODE_SIZE:
            raise InvalidHashError(f"a frame's PDQ value has {_CODE_SIZE} bytes, {len(self.pdq)} were given", "vpdq")
        if not 0 <= self.quality <= _MAX_QUALITY:
            raise InvalidHashError(f"the quality of a frame lies between 0 and {_MAX_QUALITY}", "vpdq")


def frames_of_text(text: str) -> tuple[VideoFrame, ...]:
    """The frames that `text` lists: a JSON list of `HEX,QUALITY,SECONDS`, or a frame a line.

    A line is `NUMBER,QUALITY,HEX,SECONDS`, `NUMBER,HEX,QUALITY,SECONDS` or like an item of the list. Raises
    `InvalidHashError`, which names the place and shows nothing of what stands there.
    """
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidHashError("the frames are no JSON list", "vpdq") from None
    else:
        listed = [line for line in text.splitlines() if line.strip()]
    return tuple(_frame(number, each) for number, each in enumerate(listed, start=1))


def _frame(number: int, text: object) -> VideoFrame:
    found = _FRAME.fullmatch(text) if isinstance(text, str) else None
    try:
        if found is None or not math.isfinite(float(found["seconds"])):
            raise ValueError
    except ValueError:
        raise InvalidHashError(f"frame {number} is not written as vPDQ's tools do", "vpdq") from None
    code = found["code"] or found["numbered_code"] or found["last_code"]
    quality = found["quality"] or found["numbered_quality"] or found["first_quality"]
    return VideoFrame(bytes.fromhex(code), int(quality))
