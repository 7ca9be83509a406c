"""PDQ of the pixels of a picture, with numpy alone.

The algorithm is the published one (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing
Algorithm", 2019): a tent filter, which is two passes of a box filter each way, takes the plane to 64 by 64 samples; a
discrete cosine transform keeps 16 by 16 coefficients of low frequency; each gives a bit, set where it is above their
median. Implementations differ by a few bits, because they round and downsample differently; up to ten are expected.

Filter, sampling and transform are linear and work on rows and columns alone. So the filter is only evaluated where it
is sampled: a sample needs about a thirty-second of the rows, and the pixels are gone through a strip at a time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CODE_SIZE = 32
MIN_SIDE = 5
"""A plane with a shorter side has no structure to speak of; its code is all zeros, of quality 0."""

_SAMPLES = 64
_FREQUENCIES = 16
# What the reference divides the sum of gradients by to get its quality.
_QUALITY_SCALE = 90
# Less contrast than one grey is rounding, and bits made from rounding would look like those of a picture.
_FLAT = 1.0
# Of red, green and blue, as ITU-R BT.601 has it.
_LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Pdq:
    """The code of a picture, 32 bytes, how well it describes the picture, 0 to 100, and its dihedral variants.

    `variants` are the codes that the picture would have if it were turned by 90, 180 and 270 degrees counterclockwise,
    mirrored left to right, top to bottom, and along either diagonal: in this order, and without the picture as it is.
    """

    code: bytes = field(repr=False)
    quality: int
    variants: tuple[bytes, ...] = field(repr=False)


def pdq(pixels: NDArray[np.uint8]) -> Pdq:
    """The PDQ of pixels: rows by columns of luminance (black 0, white 255), or rows by columns of red, green, blue."""
    cosines = _cosines()
    samples = [_unless_flat(each) for each in _sampled(pixels)]
    as_is, left_right, top_bottom, both = (cosines @ each @ cosines.T for each in samples)
    # Turning a picture by a quarter is mirroring it and exchanging rows and columns.
    turned = (left_right.T, both, top_bottom.T, left_right, top_bottom, as_is.T, both.T)
    return Pdq(_code(as_is), _quality(samples[0]), tuple(map(_code, turned)))


def _sampled(pixels: NDArray[np.uint8]) -> Iterator[Floats]:
    """The luminance through the filter, as 64 by 64 samples: as it is, mirrored left to right, top to bottom, and both.

    Samples do not lie in the middle of what they stand for, so those of the mirrored pixels are not the mirrored
    samples: on a small picture their codes differ by more than a search would bridge.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        yield from [np.zeros((_SAMPLES, _SAMPLES))] * 4
        return
    table = pixels.reshape(height, -1)
    for values in (table, table[::-1]):
        rows = _rows_sampled(values)
        if pixels.ndim == 3:
            # Colours become luminance only now: 64 rows are less work than all, and nothing was rounded meanwhile.
            rows = rows.reshape(_SAMPLES, width, 3) @ _LUMINANCE
        for columns in (rows.T, rows.T[::-1]):
            yield _rows_sampled(columns).T.astype(np.float64)


def _unless_flat(samples: Floats) -> Floats:
    return samples if np.ptp(samples) >= _FLAT else np.zeros_like(samples)


def _rows_sampled(values: NDArray[np.uint8] | Floats) -> Floats:
    """As many columns as there are, as 64 rows."""
    return np.stack(
        [
            weights @ values[first : first + len(weights)].astype(np.float32, copy=False)
            for first, weights in _sampling_weights(len(values))
        ]
    )


@functools.lru_cache(maxsize=32)
def _sampling_weights(length: int) -> list[tuple[int, NDArray[np.float32]]]:
    """For each of 64 samples along `length` values: the first value that it depends on, and the weights from there.

    A sample is the mean of means over windows, which are cut off at the ends of the plane.
    """
    window = -(-length // (2 * _SAMPLES))
    after = (window + 2) // 2
    before = window - after
    centres = np.arange(length)
    firsts = np.maximum(centres - before, 0)
    ends = np.minimum(centres + after, length)
    shares = 1.0 / (ends - firsts)

    weighted = []
    for sample in range(_SAMPLES):
        centre = int((sample + 0.5) * length / _SAMPLES)
        inner = slice(firsts[centre], ends[centre])
        first, end = firsts[inner][0], ends[inner][-1]
        # Where windows begin their share is added, and where they end it is taken away; the sums are the weights.
        steps = np.zeros(end - first + 1)
        np.add.at(steps, firsts[inner] - first, shares[inner] * shares[centre])
        np.add.at(steps, ends[inner] - first, -shares[inner] * shares[centre])
        weighted.append((int(first), np.cumsum(steps)[:-1].astype(np.float32)))
    return weighted


@functools.cache
def _cosines() -> Floats:
    """The rows of the cosine transform for the frequencies that are kept: 1 to 16, without the mean."""
    frequencies = np.arange(1, _FREQUENCIES + 1)[:, None]
    places = 2 * np.arange(_SAMPLES)[None, :] + 1
    cosines: Floats = np.cos(math.pi / (2 * _SAMPLES) * frequencies * places)
    return cosines * math.sqrt(2 / _SAMPLES)


def _code(coefficients: Floats) -> bytes:
    """A bit for each coefficient that is above the lower median; the first coefficient is the lowest bit."""
    flat = coefficients.ravel()
    middle = flat.size // 2 - 1
    return np.packbits((flat > np.partition(flat, middle)[middle])[::-1]).tobytes()


def _quality(samples: Floats) -> int:
    """How much the samples change from one to the next, in whole hundredths of the range."""
    gradients = sum(int(np.abs(np.trunc(np.diff(samples, axis=axis) * 100 / 255)).sum()) for axis in (0, 1))
    return min(100, gradients // _QUALITY_SCALE)
