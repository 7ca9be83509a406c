"""No line with a hash is dropped, and none is repeated in a complaint."""

import pytest
from hashmatch_client import Algorithm, Hash
from hashmatch_client.cli.subjects import lines_of, subject_of_file, subjects_of_lines
from hashmatch_client.hashing import FileHashes, UnreadableFile
from hypothesis import given
from hypothesis import strategies as st

MD5 = "0123456789abcdef0123456789ABCDEF"


def subjects(*lines):
    return list(subjects_of_lines(lines, "list"))


@pytest.mark.parametrize(
    ("line", "reference"),
    [
        (MD5, "list:1"),
        (f"{MD5}\r\n", "list:1"),
        (f"  {MD5}  ", "list:1"),
        (f"{MD5}  photo.jpg", "photo.jpg"),
        (f"{MD5} *photo one.jpg", "photo one.jpg"),
        (f"{MD5}\tphoto.jpg", "photo.jpg"),
        (f"\\{MD5}  a\\nb\\\\c", "a\nb\\c"),
    ],
)
def test_a_line_is_a_hash_with_or_without_a_name(line, reference):
    (subject,) = subjects(line)
    assert subject.reference == reference
    assert [each.hex for each in subject.item.hashes] == [MD5.lower()]


@pytest.mark.parametrize(
    "line", [MD5[:-1], MD5 + "0", f"x{MD5[1:]}", f"{MD5}{MD5}{MD5}", "photo.jpg", "\\", f"{MD5},x"]
)
def test_a_bad_line_is_kept_and_says_nothing_of_what_it_held(line):
    (subject,) = subjects(line)
    assert subject.item is None
    assert (subject.reference, subject.reason) == ("list:1", "INVALID_HASH")
    assert line not in subject.problem or line == "\\"


@pytest.mark.parametrize(
    ("line", "algorithm", "quality"),
    [
        (f"pdq:{MD5}{MD5}", Algorithm.PDQ, None),
        (f"PDQ:{MD5}{MD5}:85  a picture.jpg", Algorithm.PDQ, 85),
        (f"md5:{MD5}", Algorithm.MD5, None),
        (f"photodna:{MD5 * 9}", Algorithm.PHOTODNA, None),
    ],
)
def test_a_hash_may_be_named_and_a_perceptual_one_say_its_quality(line, algorithm, quality):
    (subject,) = subjects(line)
    (asked,) = subject.item.hashes
    assert (asked.algorithm, asked.quality) == (algorithm, quality)


@pytest.mark.parametrize(
    "text",
    [f"pdq:{MD5}", f"pdq:{MD5}{MD5}:101", f"pdq:{MD5}{MD5}:x", f"pdq:{MD5}{MD5}:1:2", f"md5:{MD5}:50", f"other:{MD5}",
     f"unrecognised:{MD5}", f"vpdq:{MD5}", f"{MD5}:85", ":", "pdq:"],
)  # fmt: skip
def test_a_named_hash_that_is_none_is_kept_as_a_bad_line(text):
    (subject,) = subjects(text)
    assert (subject.item, subject.reason) == (None, "INVALID_HASH")
    assert MD5 not in subject.problem


@given(st.lists(st.text(max_size=150)))
def test_every_line_that_says_anything_is_a_subject(lines):
    said = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    assert len(subjects(*lines)) == len(said)


def test_blank_lines_and_comments_ask_nothing_and_are_counted():
    assert [subject.reference for subject in subjects("# comment", "", "\n", MD5)] == ["list:4"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_in_the_encodings_that_occur(tmp_path, encoding):
    path = tmp_path / "hashes"
    path.write_bytes(f"{MD5}  é.jpg\r\n{MD5}\r\n".encode(encoding))
    with lines_of(str(path)) as lines:
        assert [each.reference for each in subjects_of_lines(lines, "f")] == ["é.jpg", "f:2"]


def test_bytes_that_are_no_text_do_not_stop_the_reading(tmp_path):
    path = tmp_path / "hashes"
    path.write_bytes(MD5.encode() + b"  \xff\xfe.jpg\n\xff\n" + MD5.encode())
    with lines_of(str(path)) as lines:
        assert [each.item is None for each in subjects_of_lines(lines, "f")] == [False, True, False]


def test_a_line_without_end_is_one_bad_line(tmp_path):
    path = tmp_path / "hashes"
    path.write_text(f"{MD5}{'0' * 200_000}\n{MD5}\n")
    with lines_of(str(path)) as lines:
        found = list(subjects_of_lines(lines, "f"))
    assert [(each.reference, each.item is None) for each in found] == [("f:1", True), ("f:2", False)]


def test_a_file_is_a_subject_readable_or_not():
    assert subject_of_file(UnreadableFile("p", "no")).reason == "UNREADABLE_FILE"
    assert subject_of_file(FileHashes("p", 3, (Hash.from_hex(MD5),))).weight == 3
