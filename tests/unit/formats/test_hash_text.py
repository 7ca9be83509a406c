import codecs
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats import _text
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm
from hashmatch.model.opinions import Statement

MD5, SHA1, SHA256, SHA512 = (
    hashlib.new(name, b"a benign file").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")
)
OPTIONS = ParserOptions(label="A1", scheme="a-scheme", jurisdiction="NL")
LINE_LIMIT = 65_536


@pytest.fixture(scope="module")
def read_text(read):
    def read_text(*pieces: bytes | str):
        return read(HashTextParser(OPTIONS), [p.encode() if isinstance(p, str) else p for p in pieces])

    return read_text


def digests(reading):
    assert not reading.error
    return [(algorithm, digest) for algorithm, digest, _, _ in reading.added]


def refusals(reading):
    assert not reading.error
    assert not reading.added
    return dict(reading.tally.quarantined)


@pytest.mark.parametrize(("name", "digest"), [("MD5", MD5), ("SHA1", SHA1), ("SHA256", SHA256), ("SHA512", SHA512)])
class TestShapes:
    def test_number_of_digits_decides_the_algorithm(self, read_text, name, digest):
        assert digests(read_text(f"{digest}\n")) == [(name, digest)]

    def test_case_of_the_digits_does_not_matter(self, read_text, name, digest):
        mixed = "".join(c.upper() if i % 2 else c for i, c in enumerate(digest))
        assert digests(read_text(f"{digest.upper()}\n{mixed}\n")) == [(name, digest)] * 2

    @pytest.mark.parametrize("rest", ["  a name", " *a name", ",a,b", ";a", "\ta\tb", " \t ", "  \xe9t\xe9"])
    def test_first_column_is_the_hash(self, read_text, name, digest, rest):
        assert digests(read_text(f"{digest}{rest}\n")) == [(name, digest)]

    def test_escaped_name(self, read_text, name, digest):
        assert digests(read_text(f"\\{digest}  a\\nb\n")) == [(name, digest)]

    def test_quoted_first_column(self, read_text, name, digest):
        assert digests(read_text(f'"{digest}","a"\n"{digest}"\n')) == [(name, digest)] * 2

    def test_tagged_form(self, read_text, name, digest):
        assert digests(read_text(f"{name} (a file) = {digest}\n")) == [(name, digest)]

    def test_tagged_form_with_a_treacherous_name(self, read_text, name, digest):
        assert digests(read_text(f"{name} (a) = {'0' * 31}1) = {digest}\n")) == [(name, digest)]

    def test_tagged_form_with_an_escaped_name(self, read_text, name, digest):
        assert digests(read_text(f"\\{name} (a\\nb) = {digest}\n")) == [(name, digest)]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_line_ends(self, read_text, name, digest, end):
        reading = read_text(end.join([digest, "", digest, "x", digest]))
        assert digests(reading) == [(name, digest)] * 3
        assert reading.tally.examples == {"not-hex": [4]}

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
    def test_byte_order_marks(self, read_text, name, digest, encoding):
        mark = "" if encoding == "utf-8-sig" else "\ufeff"
        assert digests(read_text(f"{mark}{digest}  é\r\n{digest}".encode(encoding))) == [(name, digest)] * 2


class TestRefusals:
    def test_odd_length(self, read_text):
        assert refusals(read_text(SHA256[:-1] + "\n")) == {"odd-length": 1}

    def test_wrong_length(self, read_text):
        assert refusals(read_text(SHA256[:-2] + "\n")) == {"wrong-length": 1}

    def test_more_digits_than_any_algorithm(self, read_text):
        assert refusals(read_text(SHA512 * 3 + "\n")) == {"wrong-length": 1}

    def test_not_hex(self, read_text):
        assert refusals(read_text(SHA256[:-1] + "g\n")) == {"not-hex": 1}

    def test_first_column_empty(self, read_text):
        assert refusals(read_text(f";{SHA256}\n")) == {"not-hex": 1}

    def test_quotation_without_end(self, read_text):
        assert refusals(read_text(f'"{SHA256}\n')) == {"not-hex": 1}

    def test_tag_of_another_length(self, read_text):
        assert refusals(read_text(f"MD5 (a) = {SHA1}\n")) == {"wrong-length": 1}

    def test_tag_of_an_odd_length(self, read_text):
        assert refusals(read_text(f"MD5 (a) = {MD5}0\n")) == {"odd-length": 1}

    def test_tag_that_only_looks_like_sha512_is_no_sha256(self, read_text):
        assert refusals(read_text(f"SHA512/256 (a) = {SHA256}\n")) == {"unknown-algorithm": 1}

    def test_tag_without_a_digest(self, read_text):
        assert refusals(read_text("SHA256 (a) = \n")) == {"not-hex": 1}

    @pytest.mark.parametrize("algorithm", EMPTY_FILE_DIGESTS)
    def test_digest_of_the_empty_file(self, read_text, algorithm):
        assert refusals(read_text(EMPTY_FILE_DIGESTS[algorithm].hex())) == {"empty-file-digest": 1}

    @pytest.mark.parametrize("algorithm", EMPTY_FILE_DIGESTS)
    @pytest.mark.parametrize("digit", "0fF")
    def test_equal_bits(self, read_text, algorithm, digit):
        assert refusals(read_text(digit * 2 * algorithm.digest_size)) == {"degenerate": 1}

    def test_almost_equal_bits_are_a_digest(self, read_text):
        assert digests(read_text("0" * 31 + "1")) == [("MD5", "0" * 31 + "1")]

    def test_examples_are_the_first_ten(self, read_text):
        reading = read_text("#\n" + "x\n" * 25)
        assert reading.tally.quarantined == {"not-hex": 25}
        assert reading.tally.examples == {"not-hex": list(range(2, 12))}

    def test_examples_go_on_over_blocks(self, read):
        parser = HashTextParser(OPTIONS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_text, "BLOCK_SIZE", 1)
            patch.setattr(_text, "_HEAD_SIZE", 1)
            reading = read(parser, [b"x\n"] * 25)
        assert reading.tally.examples == {"not-hex": list(range(1, 11))}
        assert reading.tally.quarantined == {"not-hex": 25}


class TestLongLines:
    def test_longest_line_is_read(self, read_text):
        assert digests(read_text(SHA256 + " " + "n" * (LINE_LIMIT - 65) + "\n")) == [("SHA256", SHA256)]

    def test_longer_line_is_refused(self, read_text):
        assert refusals(read_text(SHA256 + " " + "n" * (LINE_LIMIT - 64) + "\n")) == {"line-too-long": 1}

    def test_longer_line_without_end_is_refused(self, read_text):
        assert refusals(read_text("a" * (LINE_LIMIT + 1))) == {"line-too-long": 1}

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_reading_goes_on_after_it(self, read_text, end):
        long = b"n" * (LINE_LIMIT + 1)
        reading = read_text(long, long, f"{end}{SHA256}{end}x{end}")
        assert digests(reading) == [("SHA256", SHA256)]
        assert reading.tally.examples == {"line-too-long": [1], "not-hex": [3]}
        assert reading.tally.records == 3

    def test_it_is_not_kept(self):
        parser = HashTextParser(OPTIONS)
        for _ in range(10):
            assert not list(parser.feed(b"n" * LINE_LIMIT))
        assert parser._unfinished == b""


class TestNotText:
    def test_nul_in_the_first_line(self, read_text):
        assert read_text(b"\0").error == "record 1: this is not text"

    def test_nul_later(self, read_text):
        assert read_text(f"{SHA256}\r\n{SHA256}\r\n{MD5}\0".encode()).error == "record 3: this is not text"

    def test_nul_in_a_line_that_is_too_long(self, read_text):
        assert read_text(b"n" * 70_000, b"n" * 70_000 + b"\0").error == "record 1: this is not text"

    def test_nul_in_utf_16(self, read_text):
        assert read_text(f"\ufeff{SHA256}\n\0".encode("utf-16-le")).error == "record 2: this is not text"

    def test_utf_16_without_a_mark(self, read_text):
        assert read_text(SHA256.encode("utf-16-le")).error == "record 1: this is not text"

    def test_rubbish(self, read_text):
        assert read_text(b"\x89PNG\x01\x02\n" * 1_000).error == "this is not text"

    def test_truncated_utf_16(self, read_text):
        reading = read_text(f"\ufeff{SHA256}\n".encode("utf-16-le")[:-1])
        assert reading.error == "truncated: the last character is not whole"

    def test_utf_16_truncated_within_a_pair(self, read_text):
        reading = read_text(f"\ufeff{SHA256}  \U0001f600".encode("utf-16-be")[:-2])
        assert reading.error == "truncated: the last character is not whole"

    def test_half_a_pair_in_a_name_does_no_harm(self, read_text):
        text = f"\ufeff{SHA256}  \ud800.jpg\n{MD5}\n".encode("utf-16-le", "surrogatepass")
        assert digests(read_text(text)) == [("MD5", MD5), ("SHA256", SHA256)]

    def test_names_in_any_encoding(self, read_text):
        assert digests(read_text(f"{SHA256}  ".encode() + b"\xe9t\xe9\n")) == [("SHA256", SHA256)]


def test_empty_delivery_has_no_records(read_text):
    assert read_text().tally.records == 0


def test_blank_lines_and_comments_are_no_records(read_text):
    reading = read_text(f"\n  \t\n# a comment\n  # another\n{SHA256}\n\n")
    assert (reading.tally.records, reading.tally.read) == (1, 1)


def test_importer_states_label_scheme_and_jurisdiction(read_text):
    reading = read_text(SHA256)
    assert reading.added == [("SHA256", SHA256, Statement("A1", "a-scheme", "NL"), None)]
    assert [column.statements for chunk in reading.chunks for column in chunk.columns] == [0]


def test_a_piece_gives_at_most_one_chunk():
    parser = HashTextParser(OPTIONS)
    block = f"{SHA256}\n{MD5}\n".encode() * 10_000
    (chunk,) = parser.feed(block)
    assert [column.algorithm for column in chunk.columns] == [Algorithm.MD5, Algorithm.SHA256]
    assert not list(parser.finish())


def test_digests_are_not_overwritten_by_later_blocks():
    parser = HashTextParser(OPTIONS)
    (first,) = parser.feed(f"{SHA256}\n".encode() * 2_000)
    (_,) = parser.feed(f"{SHA256[::-1]}\n".encode() * 2_000)
    assert {digest.tobytes().hex() for digest in first.columns[0].digests} == {SHA256}


# A second parser, slow and plain, to compare the kernel with.

_PLAIN = re.compile(rb'(?:\\?([0-9a-f]+)|"([0-9a-f]+)")(?:[ \t,;].*)?', re.IGNORECASE | re.DOTALL)
_TAGGED = re.compile(rb'(?!")\\?+([^ ]+) \(.*\) = ([0-9a-f]+)', re.IGNORECASE | re.DOTALL)
_BY_DIGITS = {32: "MD5", 40: "SHA1", 64: "SHA256", 128: "SHA512"}
_EMPTY = {digest.hex() for digest in EMPTY_FILE_DIGESTS.values()}


def classify(line: bytes) -> str | tuple[str, str]:
    """The reason why the line is refused, "" if it is no record, or the algorithm and digest."""
    stripped = line.strip(b" \t")
    if not stripped or stripped.startswith(b"#"):
        return ""
    tag = None
    if match := _PLAIN.fullmatch(stripped):
        digest = (match[1] or match[2]).decode().lower()
    elif match := _TAGGED.fullmatch(stripped):
        tag, digest = match[1].decode("latin-1"), match[2].decode().lower()
        if tag not in _BY_DIGITS.values():
            return "unknown-algorithm"
    else:
        return "not-hex"
    if len(digest) % 2:
        return "odd-length"
    name = _BY_DIGITS.get(len(digest))
    if name is None or tag not in (None, name):
        return "wrong-length"
    if digest in _EMPTY:
        return "empty-file-digest"
    return "degenerate" if not digest.strip("0") or not digest.strip("f") else (name, digest)


_DIGITS = st.one_of(
    st.sampled_from([MD5, SHA1, SHA256, SHA512, *_EMPTY, "0" * 40, "F" * 64, "f" * 63 + "0"]),
    st.integers(0, 140).map(lambda count: (SHA512 * 2)[:count]),
)
_LINE = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(["", " ", "\t", "\\", '"', "#", "=", "x"]), _DIGITS, st.just("")),
    st.builds(
        "{}{}{}".format,
        _DIGITS,
        st.sampled_from(["", " ", "  ", " *", ",", ";", "\t", '"', '",', ")", "g"]),
        st.sampled_from(["", "name", "(a) = ", '"q"', "é"]),
    ),
    st.builds('"{}"{}'.format, _DIGITS, st.sampled_from(["", ",a", " ", "a"])),
    st.builds(
        "{}{}{}{}{}".format,
        st.sampled_from(["", "\\", '"', " "]),
        st.sampled_from(["MD5", "SHA1", "SHA256", "SHA512", "SHA384", "sha256", "MD", ""]),
        st.sampled_from([" (a) = ", " () = ", "(a) = ", " (a)= ", " (a) = b) = ", " ) = ", " (a) ="]),
        _DIGITS,
        st.sampled_from(["", " ", "x"]),
    ),
    st.text(alphabet='0aF \t#\\"(),;=MD5SHA', max_size=12),
).map(str.encode)
_END = st.sampled_from([b"\n", b"\r\n", b"\r"])
_TEXT = st.lists(st.tuples(_LINE, _END), max_size=30).map(lambda lines: b"".join(a + b for a, b in lines))


@given(text=_TEXT, tail=_LINE)
def test_kernel_reads_what_the_slow_parser_reads(read, text, tail):
    data = text + tail
    lines = re.split(rb"\r\n|\r|\n", data)
    outcomes = [(number, outcome) for number, line in enumerate(lines, 1) if (outcome := classify(line))]
    reading = read(HashTextParser(OPTIONS), [data])
    assert not reading.error
    assert sorted(digests(reading)) == sorted(outcome for _, outcome in outcomes if isinstance(outcome, tuple))
    assert reading.tally.records == len(outcomes)
    examples: dict[str, list[int]] = {}
    for number, outcome in outcomes:
        if isinstance(outcome, str):
            examples.setdefault(outcome, []).append(number)
    assert reading.tally.quarantined == {reason: len(numbers) for reason, numbers in examples.items()}
    assert reading.tally.examples == {reason: numbers[:10] for reason, numbers in examples.items()}


@given(
    text=_TEXT,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"]),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
)
def test_cuts_change_nothing(read, read_cut, text, encoding, cuts):
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    data = marks.get(encoding, b"") + text.decode().encode(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_text, "_HEAD_SIZE", 4)
        cut = read_cut(HashTextParser(OPTIONS), data, cuts)
    assert cut.outcome() == read(HashTextParser(OPTIONS), [data]).outcome()


@given(cuts=st.lists(st.integers(0, 400_000), max_size=6), length=st.sampled_from([-1, 0, 1, 70_000]))
def test_cuts_of_long_lines_change_nothing(read, read_cut, cuts, length):
    line = b"n" * (LINE_LIMIT + length)
    data = b"\r\n".join([line, SHA256.encode(), line, b"", line])
    assert read_cut(HashTextParser(OPTIONS), data, cuts).outcome() == read(HashTextParser(OPTIONS), [data]).outcome()


@given(data=st.binary(max_size=300), mark=st.sampled_from([b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE]))
def test_any_bytes_are_read_or_refused(read, read_cut, data, mark):
    whole = read(HashTextParser(OPTIONS), [mark + data])
    assert read_cut(HashTextParser(OPTIONS), mark + data, range(len(data))).outcome() == whole.outcome()
