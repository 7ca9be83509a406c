"""The codes are those of the reference, and the variants are those of the picture turned and mirrored.

The codes in this file were recorded from the reference implementation (the C++ of facebook/ThreatExchange, as the
package `pdqhash` 0.2.8 builds it) of the very pixels that `bench.drawings` draws.
"""

import numpy as np
import pytest
from hashmatch_client._pdq import CODE_SIZE, MIN_SIDE, pdq

from bench.drawings import draw

# Two implementations may differ by ten bits, and this one by fewer from the one that it was recorded from.
TOLERANCE = 4

REFERENCE = {
    (1, 640, 480): ("dae1b4a0f561f942fad154b55d29bf5a9694ad341578aa57449e808d41aca3ee", 100),
    (2, 512, 512): ("9c41ba718eba9c4f8e9c436caaae730e30acf2e61066af67ad67952314ad4b0d", 100),
    (3, 63, 97): ("9281106bc90e7a11100639033f6ad48e5ea1b76ec9c9ee98b63cac91bad7fbed", 100),
    (4, 1000, 700): ("dbe80727b89357ec0a0b78f197ca7c28a6f0927ffc6c8fab829fcbc80054e052", 100),
    (5, 129, 64): ("4bb1d6e065e827fb604fb237e126688167d84ce874d8ce6f7456c331b9309999", 100),
    (6, 1601, 1203): ("7f1e770c738e739627c693ee92cdd3d4595c48056a5768476500f5ab74a03721", 100),
    (7, 7, 300): ("1ad44e71c2d735aa97826d296ad57d689ad4c38f1a746c79358a909ed6d2287c", 100),
}

TURNS = (
    lambda pixels: np.rot90(pixels, 1),
    lambda pixels: np.rot90(pixels, 2),
    lambda pixels: np.rot90(pixels, 3),
    lambda pixels: pixels[:, ::-1],
    lambda pixels: pixels[::-1],
    lambda pixels: np.swapaxes(pixels, 0, 1),
    lambda pixels: np.swapaxes(pixels[::-1, ::-1], 0, 1),
)


def distance(one, other):
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


@pytest.mark.parametrize(("seed", "width", "height"), REFERENCE)
def test_codes_are_those_of_the_reference(seed, width, height):
    code, quality = REFERENCE[seed, width, height]
    found = pdq(np.asarray(draw(seed, width, height)))
    assert distance(found.code, bytes.fromhex(code)) <= TOLERANCE
    assert abs(found.quality - quality) <= 1


@pytest.mark.parametrize("size", [(256, 256), (640, 480), (301, 473)])
def test_variants_are_the_codes_of_the_picture_turned_and_mirrored(size):
    pixels = np.asarray(draw(7, *size))
    variants = pdq(pixels).variants
    turned = [pdq(turn(pixels)).code for turn in TURNS]
    assert [distance(one, other) <= TOLERANCE for one, other in zip(variants, turned, strict=True)] == [True] * 7
    # And of no other turn: all eight differ by far.
    everything = [pdq(pixels).code, *variants]
    assert min(distance(a, b) for i, a in enumerate(everything) for b in everything[:i]) > 64


def test_half_of_the_bits_are_set():
    assert int.from_bytes(pdq(np.asarray(draw(3))).code).bit_count() == 128


def test_grey_pixels_have_the_code_of_the_same_pixels_in_colours():
    grey = np.asarray(draw(5).convert("L"))
    assert pdq(grey) == pdq(np.stack([grey] * 3, axis=-1))


def test_neither_brightness_nor_contrast_changes_the_code():
    pixels = np.asarray(draw(11).convert("L"))
    assert distance(pdq(pixels).code, pdq(pixels // 2 + 60).code) <= TOLERANCE


@pytest.mark.parametrize("shade", [0, 128, 255])
@pytest.mark.parametrize("shape", [(100, 100), (1, 1), (640, 480, 3), (5, 3_000)])
def test_a_flat_picture_has_a_code_without_bits_and_no_quality(shape, shade):
    found = pdq(np.full(shape, shade, np.uint8))
    assert (found.code, found.quality) == (bytes(CODE_SIZE), 0)
    assert set(found.variants) == {bytes(CODE_SIZE)}


def test_what_is_too_small_to_have_a_structure_is_as_flat_as_a_picture_can_be():
    noise = np.random.default_rng(1).integers(0, 256, (MIN_SIDE - 1, 200), np.uint8)
    assert pdq(noise).quality == 0
    assert pdq(np.resize(noise, (MIN_SIDE, 200))).quality > 0


def test_a_code_is_not_shown():
    found = pdq(np.asarray(draw(2)))
    assert repr(found) == "Pdq(quality=100)"
