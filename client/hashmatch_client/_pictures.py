"""PDQ of pictures: from a file or an image of Pillow to the hashes that are sent.

What lies in a file may have been made to do harm. So only raster formats that Pillow decodes itself are opened (not
EPS, for which it starts a program); a picture is measured by its header before anything is decoded; all threads
together decode no more than one picture of the greatest size at a time; and whatever a decoder makes of broken bytes
ends as a `problem` in words of this module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from hashmatch_client._hashes import Algorithm, Hash
from hashmatch_client._pdq import pdq

MAX_PIXELS = 89_478_485
"""The pixels of the largest picture that is decoded: where Pillow, too, begins to speak of decompression bombs."""

MAX_FRAMES = 8
"""The frames of an animation that are hashed: as many as leave an item room for its other hashes."""

GOOD_QUALITY = 50
"""Below this quality a code says too little of its picture to be searched by."""

# Decoding an animation up to its last frame means decoding all; what lies behind so many pixels is not looked at.
_MAX_ANIMATION_PIXELS = 500_000_000

# A JPEG is decoded at a half, a quarter or an eighth of its size if that leaves so many pixels a side: sixteen for each
# sample that PDQ takes. It costs a few bits at most; the reference halves what it gets to half as many.
_ENOUGH = (1_024, 1_024)

_FORMATS = (
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TIFF", "WEBP",
)  # fmt: skip
_ANIMATED = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")

# What begins so is meant as a picture, whether or not it can be decoded.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cJXL ")
_BRANDS = (b"avif", b"avis", b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_DAMAGED = "it cannot be decoded: it is damaged, cut short, or of a kind that Pillow does not know"


@dataclass(frozen=True, slots=True)
class PictureHashes:
    """The PDQ hashes of a picture, none twice, and what went wrong, if something did: then hashes may be missing."""

    hashes: tuple[Hash, ...] = ()
    problem: str = ""


class PictureHasher:
    """Hashes pictures for as many threads as call it. Together they decode at most `max_pixels` pixels at a time."""

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._budget = _PixelBudget(max_pixels)
        Image.init()  # loads the formats, which threads must not do at the same time

    def of_file(self, file: BinaryIO, stop: threading.Event | None = None) -> PictureHashes:
        """The hashes of the picture in `file`, read from its beginning; neither hashes nor problem if it holds none.

        An animation gives up to eight frames, spread evenly. Ends early, with what it has, when `stop` is set.
        """
        try:
            image = Image.open(file, formats=_FORMATS)
        except UnidentifiedImageError:
            file.seek(0)
            return PictureHashes(problem=_DAMAGED) if _is_meant_as_picture(file.read(12)) else PictureHashes()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return PictureHashes(problem=self._too_large)
        except Exception:  # noqa: BLE001 - Pillow raises whatever broken bytes lead it to
            return PictureHashes(problem=_DAMAGED)
        with image:
            return self.of_image(image, stop)

    def of_image(self, image: Image.Image, stop: threading.Event | None = None) -> PictureHashes:
        """The hashes of an image that is open; an animation is left at the last frame that was looked at."""
        hashes: list[Hash] = []
        problem = ""
        try:
            for position in self._frames(image):
                if stop is not None and stop.is_set():
                    break
                if position:
                    image.seek(position)
                size = image.width * image.height
                if size > self._max_pixels:
                    problem = self._too_large
                    break
                with self._budget.hold(size):
                    hashes += map(_hash, _faces(image))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            problem = self._too_large
        except Exception:  # noqa: BLE001 - as above
            problem = _DAMAGED
        return PictureHashes(_worth_sending(hashes), problem)

    @property
    def _too_large(self) -> str:
        return f"it is too large: more than {self._max_pixels // 1_000_000:,} megapixels"

    @staticmethod
    def _frames(image: Image.Image) -> list[int]:
        """The frames to hash, spread evenly over those that are looked at."""
        # What a JPEG holds beside its picture are previews and depth maps.
        frames = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
        reachable = max(1, min(frames, _MAX_ANIMATION_PIXELS // max(1, image.width * image.height)))
        return sorted({round(place) for place in np.linspace(0, reachable - 1, MAX_FRAMES)})


class _PixelBudget:
    """Lets threads decode side by side as long as their pixels, taken together, are not too many."""

    def __init__(self, pixels: int) -> None:
        self._left = pixels
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Waits for room for so many pixels, and keeps it while the context lasts."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()


def _faces(image: Image.Image) -> Iterator[NDArray[np.uint8]]:
    """The pixels of the frame, upright: as they are stored, and, where some are transparent, also as seen on white.

    Bodies hash what their tool makes of transparency, and tools make either of it.
    """
    if image.format in ("JPEG", "MPO"):
        image.draft(None, _ENOUGH)
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    frame = image if upright is None else image.transpose(upright)
    if not frame.has_transparency_data:
        yield _pixels(frame)
        return
    coloured = frame.convert("RGBA")
    opacity = coloured.getchannel("A")
    yield np.asarray(coloured.convert("RGB"))
    if opacity.getextrema() != (255, 255):
        on_white = Image.new("RGB", coloured.size, "white")
        on_white.paste(coloured, mask=opacity)
        yield np.asarray(on_white)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The luminance or the colours of an opaque image in eight bits."""
    if image.mode.startswith("I;16"):
        deep: NDArray[np.uint16] = np.asarray(image)
        return (deep >> np.uint16(8)).astype(np.uint8)
    if image.mode in ("I", "F"):
        # Nothing says what black and white are. PDQ does not mind how bright or how contrasty a picture is.
        values: NDArray[np.float32] = np.nan_to_num(np.asarray(image, np.float32))
        values -= values.min()
        values *= 255 / max(float(values.max()), 1e-6)
        return values.astype(np.uint8)
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L"))
    grey = image.mode in ("1", "L")
    return np.asarray(image.convert("L" if grey else "RGB"))


def _orientation(image: Image.Image) -> int:
    """How the picture is to be turned, as EXIF has it; 1, which is not at all, if that cannot be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - as above; the pixels are good even so
        return 1


def _hash(pixels: NDArray[np.uint8]) -> Hash:
    found = pdq(pixels)
    alternates = dict.fromkeys(found.variants)
    alternates.pop(found.code, None)
    return Hash(Algorithm.PDQ, found.code, found.quality, tuple(alternates))


def _worth_sending(hashes: list[Hash]) -> tuple[Hash, ...]:
    """The hashes of good quality, each code once, at most `MAX_FRAMES`; if none is good, the best alone.

    A frame that fades to black says nothing, and must not make the answer about the others undetermined.
    """
    good = {each.value: each for each in hashes if _quality(each) >= GOOD_QUALITY}
    return tuple(good.values())[:MAX_FRAMES] or tuple(sorted(hashes, key=_quality)[-1:])


def _quality(each: Hash) -> int:
    return each.quality or 0


def _is_meant_as_picture(start: bytes) -> bool:
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(_SIGNATURES) or webp or (start[4:8] == b"ftyp" and start[8:12] in _BRANDS)
