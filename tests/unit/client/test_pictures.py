"""A picture has its codes whatever it is stored as; what cannot be hashed as a picture is told, and hurts nobody."""

import io
import os
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hashmatch_client import Algorithm, Hash
from hashmatch_client import _pictures as pictures
from hashmatch_client._pictures import GOOD_QUALITY, MAX_FRAMES, PictureHasher
from hashmatch_client.hashing import (
    FILE_ALGORITHMS,
    PictureError,
    Stopped,
    hash_file,
    hash_files,
    picture_hashes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.drawings import ALTERATIONS, draw, saved_as_jpeg

PICTURE = draw(1)


@pytest.fixture(scope="module")
def hasher():
    return PictureHasher()


def distance(one, other):
    return (int.from_bytes(one.value) ^ int.from_bytes(other.value)).bit_count()


def stored(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def only(found):
    assert found.problem == ""
    (code,) = found.hashes
    return code


CODE = only(PictureHasher().of_image(PICTURE))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "LA"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "L"),
        ("JPEG", "CMYK"), ("WEBP", "RGB"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "CMYK"), ("TIFF", "LAB"),
        ("TIFF", "YCbCr"), ("TIFF", "F"), ("TIFF", "I"), ("JPEG2000", "RGB"), ("PPM", "RGB"), ("AVIF", "RGB"),
    ],
)  # fmt: skip
def test_the_code_is_the_same_in_every_format_and_mode(hasher, kind, mode):
    picture = PICTURE
    if mode == "LAB":
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.applyTransform(PICTURE, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    elif mode in ("F", "I"):
        picture = PICTURE.convert("L").convert(mode)
    elif mode != "RGB":
        picture = PICTURE.convert(mode)
    # L* of LAB is a curve of luminance, and the rest is rounded or compressed.
    assert distance(only(hasher.of_file(stored(picture, kind))), CODE) <= (31 if mode == "LAB" else 10)


def test_sixteen_bits_are_not_clipped_to_eight(hasher):
    deep = Image.fromarray(np.asarray(PICTURE.convert("L")).astype("uint16") * 257)
    assert deep.mode == "I;16"
    assert distance(only(hasher.of_file(stored(deep, "PNG"))), CODE) <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_that_exif_states_is_honoured(hasher, kind, orientation):
    undo = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    as_taken = PICTURE if undo is None else PICTURE.transpose(undo)
    assert distance(only(hasher.of_file(stored(as_taken, kind, exif=exif))), CODE) <= 10


def test_exif_that_cannot_be_read_does_not_spoil_a_picture(hasher):
    file = stored(PICTURE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert distance(only(hasher.of_file(file)), CODE) <= 4


def test_alternates_are_the_codes_of_the_picture_turned_and_mirrored(hasher):
    assert len(CODE.alternates) == 7
    values = {CODE.value, *CODE.alternates}
    for turn in Image.Transpose:
        assert any(
            distance(only(hasher.of_image(PICTURE.transpose(turn))), Hash(Algorithm.PDQ, v)) <= 4 for v in values
        )


def test_a_transparent_picture_is_hashed_as_stored_and_as_seen_on_white(hasher):
    hole = PICTURE.convert("RGBA")
    hole.paste((0, 0, 0, 0), (200, 100, 500, 400))
    white = PICTURE.copy()
    white.paste("white", (200, 100, 500, 400))
    black = PICTURE.copy()
    black.paste("black", (200, 100, 500, 400))
    found = hasher.of_file(stored(hole, "PNG"))
    for one, other in zip(found.hashes, (black, white), strict=True):
        assert distance(one, only(hasher.of_image(other))) <= 2


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("frames", [2, MAX_FRAMES, 30])
def test_an_animation_has_the_codes_of_frames_spread_evenly(hasher, kind, frames):
    drawn = [draw(seed, 96, 64) for seed in range(frames)]
    found = hasher.of_file(stored(drawn[0], kind, save_all=True, append_images=drawn[1:]))
    places = sorted({round(n * (frames - 1) / (MAX_FRAMES - 1)) for n in range(MAX_FRAMES)})
    assert found.problem == ""
    assert len(found.hashes) == min(frames, MAX_FRAMES)
    for one, place in zip(found.hashes, places, strict=True):
        assert distance(one, only(hasher.of_image(drawn[place]))) <= 24


def test_equal_frames_are_one_hash_and_frames_that_say_nothing_are_left_out(hasher):
    black = Image.new("RGB", (96, 64))
    shown = draw(4, 96, 64)
    found = hasher.of_file(stored(black, "TIFF", save_all=True, append_images=[shown, black, shown, shown]))
    assert only(found).quality >= GOOD_QUALITY


def test_a_picture_of_poor_quality_is_hashed_all_the_same(hasher):
    assert only(hasher.of_image(Image.new("L", (80, 80), 90))) == Hash(Algorithm.PDQ, bytes(32), 0)
    assert only(hasher.of_image(Image.new("1", (1, 1)))).quality == 0


def png_of_size(width, height):
    """The head of a PNG: what it claims to be, and next to nothing of it."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 99)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("size", [(9_500, 9_500), (20_000, 20_000), (60_000, 60_000)])
@pytest.mark.parametrize("heed", ["ignore", "error"])
def test_a_decompression_bomb_is_refused_by_its_header(hasher, size, heed):
    with warnings.catch_warnings():
        warnings.simplefilter(heed)
        found = hasher.of_file(io.BytesIO(png_of_size(*size)))
    assert found.hashes == ()
    assert "too large" in found.problem


def test_a_later_frame_that_is_too_large_is_refused_and_the_others_stand():
    file = stored(draw(1, 60, 60), "TIFF", save_all=True, append_images=[draw(2, 600, 600)])
    found = PictureHasher(max_pixels=10_000).of_file(file)
    assert len(found.hashes) == 1
    assert "too large" in found.problem


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_picture_that_is_cut_short_is_told_as_such(hasher, kind, share):
    whole = stored(PICTURE, kind).getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "cannot be decoded" in hasher.of_file(io.BytesIO(whole[: int(share * len(whole))])).problem


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]), st.data())
def test_spoilt_bytes_end_in_a_problem_or_in_hashes_and_never_in_an_exception(kind, data):
    spoilt = bytearray(stored(draw(6, 40, 30), kind).getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = PictureHasher().of_file(io.BytesIO(spoilt))
    assert all(each.algorithm is Algorithm.PDQ for each in found.hashes)


@pytest.mark.parametrize(
    "content", [b"", b"some text\n", os.urandom(5_000), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.7\n"]
)
def test_what_is_no_picture_has_neither_hash_nor_problem(hasher, content):
    assert hasher.of_file(io.BytesIO(content)) == pictures.PictureHashes()


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypheic", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_a_picture_of_a_kind_that_cannot_be_decoded_is_told(hasher, start):
    assert "does not know" in hasher.of_file(io.BytesIO(start + bytes(100))).problem


def test_threads_decode_no_more_pixels_together_than_are_allowed():
    budget = pictures._PixelBudget(100)
    second = threading.Event()

    def work():
        with budget.hold(60):
            second.set()

    with budget.hold(60):
        thread = threading.Thread(target=work)
        thread.start()
        assert not second.is_set()
    thread.join(10)
    assert second.is_set()
    assert budget._left == 100


@pytest.mark.parametrize("name", [name for name in ALTERATIONS if name != "a black bar across"])
def test_an_altered_picture_is_close_to_the_listed_code(hasher, name):
    found = 0
    for seed in range(40):
        picture = draw(seed, 320, 240)
        found += distance(only(hasher.of_image(picture)), only(hasher.of_image(ALTERATIONS[name](picture)))) <= 31
    assert found >= 38


def test_a_large_jpeg_is_decoded_smaller_and_its_code_stays(hasher):
    picture = draw(8).resize((2_400, 2_100))
    file = io.BytesIO(saved_as_jpeg(picture, 90))
    with Image.open(file) as opened:
        code = only(hasher.of_image(opened))
        assert opened.width < 2_400
    assert distance(code, only(hasher.of_image(picture))) <= 10


# Beside the digests.


def test_a_file_has_its_digests_and_then_its_codes(tmp_path):
    path = tmp_path / "picture.png"
    PICTURE.save(path)
    found = hash_file(path, FILE_ALGORITHMS)
    assert [each.algorithm for each in found.hashes] == list(FILE_ALGORITHMS)
    assert found.hashes[-1] == CODE
    assert hash_file(path, (Algorithm.PDQ,)).hashes == (CODE,) == picture_hashes(path) == picture_hashes(PICTURE)
    assert found.hashes[:-1] == hash_file(path, FILE_ALGORITHMS[:-1]).hashes


def test_a_damaged_picture_and_one_that_is_too_large_keep_their_digests(tmp_path):
    (tmp_path / "a").write_bytes(saved_as_jpeg(PICTURE, 80)[:5_000])
    (tmp_path / "b").write_bytes(png_of_size(30_000, 30_000))
    (tmp_path / "c").write_text("no picture")
    PICTURE.save(tmp_path / "d", "PNG")
    with hash_files([str(tmp_path / name) for name in "abcd"], FILE_ALGORITHMS, jobs=2) as files:
        found = list(files)
    assert [len(each.hashes) for each in found] == [4, 4, 4, 5]
    assert "cannot be decoded" in found[0].picture_problem
    assert "too large" in found[1].picture_problem
    assert found[2].picture_problem == found[3].picture_problem == ""


def test_stopping_stops_before_a_picture_is_decoded(tmp_path):
    PICTURE.save(tmp_path / "picture.png")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        hash_file(tmp_path / "picture.png", (Algorithm.PDQ,), stop=stop)


def test_what_has_no_code_is_an_error_that_says_why(tmp_path):
    (tmp_path / "text").write_text("text")
    with pytest.raises(PictureError, match="no picture"):
        picture_hashes(tmp_path / "text")
    (tmp_path / "cut").write_bytes(saved_as_jpeg(PICTURE, 80)[:5_000])
    with pytest.raises(PictureError, match="cannot be decoded"):
        picture_hashes(tmp_path / "cut")
    with pytest.raises(FileNotFoundError):
        picture_hashes(tmp_path / "missing")
