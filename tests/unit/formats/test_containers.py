"""Whatever a delivery is packed in, the parser reads the same, or the delivery is refused as a whole."""

import contextlib
import gzip
import io
import sys
import zipfile
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats import containers
from hashmatch.formats.containers import Container, ExpansionLimits, OpenedParser
from hashmatch.formats.delivery import DeliveryError, ParserOptions
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.model.errors import ErrorReason

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = "".join(f"{number * 0x9E3779B97F4A7C15 & (1 << 128) - 1:032x}\n" for number in range(1, 2_001)).encode()


class _OneWay(io.RawIOBase):
    """A place to write to that cannot be gone back in, which makes `zipfile` write data descriptors."""

    def __init__(self):
        self.written = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.written += data
        return len(data)


def zipped(*members, method=zipfile.ZIP_DEFLATED, one_way=False, zip64=False, comment=b""):
    target = _OneWay() if one_way else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.comment = comment
        for name, content in members:
            if name.endswith("/"):
                archive.mkdir(name)
            else:
                with archive.open(name, "w", force_zip64=zip64) as file:
                    file.write(content)
    return bytes(target.written) if one_way else target.getvalue()


# A frame that decompressors skip.
SKIPPED = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"text"


def zstandard(data):
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: True})


PACKED = {
    "nothing": TEXT,
    "gzip": gzip.compress(TEXT),
    "gzip of two members": gzip.compress(TEXT[:1_000]) + gzip.compress(TEXT[1_000:]),
    "zstd": zstandard(TEXT),
    "zstd of two frames": zstandard(TEXT[:1_000]) + zstandard(TEXT[1_000:]),
    "zstd behind a frame to skip": SKIPPED + zstandard(TEXT) + SKIPPED,
    "zip": zipped(("list.txt", TEXT)),
    "zip of a system that hides files": zipped(("._list.txt", b"x"), (".DS_Store", b"x"), ("list.txt", TEXT)),
    "zip, stored": zipped(("list.txt", TEXT), method=zipfile.ZIP_STORED),
    "zip64": zipped(("list.txt", TEXT), zip64=True),
    "zip with descriptor": zipped(("list.txt", TEXT), one_way=True),
    "zip64 with descriptor": zipped(("list.txt", TEXT), one_way=True, zip64=True),
    "zip with a comment": zipped(("list.txt", TEXT), comment=b"a comment"),
    "zip with a folder and a readme": zipped(("d/", b""), ("d/README.md", b"hello"), ("d/list.txt", TEXT)),
}


def expand(data, cuts=(), limits=None):
    container = Container(limits)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = []
    for start, end in pairwise(edges):
        pieces += container.feed(data[start:end])
    return b"".join([*pieces, *container.finish()])


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
@given(cuts=st.lists(st.integers(0, 1 << 20), max_size=6))
def test_the_delivery_is_the_same_however_it_is_packed_and_cut(packed, cuts):
    assert expand(packed, cuts) == TEXT


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_single_bytes(packed):
    assert expand(packed, range(len(packed))) == TEXT


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_a_parser_reads_what_is_inside(packed, read):
    reading = read(OpenedParser(HashTextParser(ParserOptions())), [packed[:7], packed[7:]])
    assert len(reading.added) == 2_000


@pytest.mark.parametrize("name", [name for name in PACKED if name != "nothing"])
@given(end=st.integers(0, 1 << 20))
def test_a_truncated_container_is_refused(name, end):
    packed = PACKED[name]
    end = 4 + end % (len(packed) - 4)
    # Between members or frames nothing says that more of them should come.
    between = {
        "gzip of two members": [len(gzip.compress(TEXT[:1_000]))],
        "zstd of two frames": [len(zstandard(TEXT[:1_000]))],
        "zstd behind a frame to skip": [len(SKIPPED), len(SKIPPED) + len(zstandard(TEXT))],
    }
    if end in between.get(name, ()):
        return
    with pytest.raises(DeliveryError, match="truncated"):
        expand(packed[:end])


@pytest.mark.parametrize("name", [name for name in PACKED if name != "nothing"])
@given(data=st.data())
def test_a_damaged_container_is_refused_or_harmless(name, data):
    packed = bytearray(PACKED[name])
    # The fifth byte of Zstandard says whether there is a checksum.
    at = data.draw(st.integers(5, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(DeliveryError):
        assert expand(bytes(packed)) == TEXT


@pytest.mark.parametrize("name", [name for name in PACKED if name != "nothing"])
@pytest.mark.parametrize("garbage", [b"\0", b"garbage behind the end", TEXT])
def test_bytes_behind_the_end_are_refused(name, garbage):
    with pytest.raises(DeliveryError):
        expand(PACKED[name] + garbage)


@pytest.mark.parametrize("inner", ["gzip", "zstd", "zip"])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard, lambda data: zipped(("list", data))])
def test_a_container_inside_a_container_is_refused(inner, pack):
    with pytest.raises(DeliveryError, match="inside a container"):
        expand(pack(PACKED[inner]))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard, lambda data: zipped(("list", data))])
def test_bombs_are_refused_before_they_are_expanded(pack):
    bomb = pack(bytes(8 << 20))
    for limits in (ExpansionLimits(size=1 << 20), ExpansionLimits(ratio=10, floor=1 << 20)):
        expanded = []
        with pytest.raises(DeliveryError) as error:
            expanded.extend(map(len, Container(limits).feed(bomb)))
        assert error.value.reason == ErrorReason.DELIVERY_TOO_LARGE
        assert sum(expanded) <= 1 << 20


@pytest.mark.parametrize("pack", [gzip.compress, zstandard, lambda data: zipped(("list", data))])
def test_pieces_are_small(pack):
    assert max(map(len, Container().feed(pack(bytes(4 << 20))))) <= 1 << 18


@pytest.mark.parametrize("empty", [gzip.compress(b""), SKIPPED, zstandard(b"")], ids=["gzip", "skipped", "zstd"])
def test_parts_without_end_that_hold_nothing_are_refused(empty):
    """Each costs a new decompressor, and what it expands to counts for nothing."""
    full = gzip.compress(b"x") if empty.startswith(b"\x1f") else zstandard(b"x")
    assert expand((999 * empty + full) * 3) == b"xxx"
    with pytest.raises(DeliveryError, match="hold nothing"):
        expand(full + 1_002 * empty + full)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard])
def test_many_small_parts_are_not_copied_for_each_other(pack, monkeypatch):
    """What is left behind a part is copied; so little is fed at once that it does not matter."""
    fed = []

    class Decompressor:
        def __init__(self, decompressor):
            self._decompressor = decompressor

        def __getattr__(self, name):
            return getattr(self._decompressor, name)

        def decompress(self, data, size):
            fed.append(len(data))
            return self._decompressor.decompress(data, size)

    inflating, frame = zlib.decompressobj, containers._frame
    monkeypatch.setattr(containers.zlib, "decompressobj", lambda wbits: Decompressor(inflating(wbits)))
    monkeypatch.setattr(containers, "_frame", lambda: Decompressor(frame()))
    assert expand(pack(b"x") * 2_000) == b"x" * 2_000
    assert max(fed) <= 16_384


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (zipped(("a", TEXT), ("b", TEXT)), "more than one file"),
        (zipped(("README", TEXT)), "no file"),
        (zipped(), "no file"),
        (zipped(("README", bytes(9 << 20)), ("a", TEXT), (".b", bytes(9 << 20))), "besides the delivery"),
        (zipped(("a", TEXT), method=zipfile.ZIP_BZIP2), "another method"),
        (zipped(("a", TEXT), method=zipfile.ZIP_STORED, one_way=True), "how long"),
    ],
)
def test_zip_archives_that_are_refused(packed, message):
    with pytest.raises(DeliveryError, match=message):
        expand(packed)


def test_the_tables_beside_a_list_of_nsrl_come_along():
    besides = [(f"RDS/{name}", b"x,y") for name in ("NSRLMfg.txt", "NSRLOS.txt", "NSRLProd.txt", "version.txt")]
    assert expand(zipped(*besides[:2], ("RDS/NSRLFile.txt", TEXT), *besides[2:])) == TEXT


def test_an_encrypted_archive_is_refused():
    packed = bytearray(PACKED["zip"])
    packed[6] |= 1
    with pytest.raises(DeliveryError, match="encrypted"):
        expand(bytes(packed))


def test_a_directory_that_names_another_file_is_refused():
    packed = PACKED["zip"]
    at = packed.rindex(b"list.txt")
    with pytest.raises(DeliveryError, match="does not agree"):
        expand(packed[:at] + b"lust.txt" + packed[at + 8 :])
