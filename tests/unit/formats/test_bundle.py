"""Bundles: what is written is read, and nothing that was damaged is."""

import hashlib
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.formats.bundle import BundleHeader, BundleParser, recognises, written
from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.model.algorithms import EXACT_ALGORITHMS, Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.opinions import Statement

HEADER = BundleHeader(
    hashmatch_bundle=1,
    definition=ListDefinition(
        list_id="a-list", body="a body", nature=ListNature.EXPLOITATIVE, max_age=60.0, scheme="s", jurisdiction="NL"
    ),
    generation=7,
    as_of=1735689600.0,
)
SAID = [Statement(), Statement("A1", "ncmec", "US", ("a", "b"), "2025-12-31"), Statement("é\n", "x")]
MD5 = hashlib.md5(b"a benign file").digest()
PHOTODNA = random.Random(1).randbytes(144)
PDQ = hashlib.sha256(b"a benign picture").digest()
ENTRIES = [
    ("a key", [(Algorithm.MD5, MD5, 1), (Algorithm.PHOTODNA, PHOTODNA, 1), (Algorithm.PDQ, PDQ, 2)]),
    ("", [(Algorithm.MD5, MD5, 0)]),
]
# What the importer states is not used: the bundle says everything.
OPTIONS = ParserOptions(label="another", scheme="other", jurisdiction="XX")


def bundle(entries=ENTRIES, said=SAID, header=HEADER):
    return b"".join(written(header, said, entries))


def changed(old, new, of=None):
    """A bundle that was written with `new` in the place of `old`, and says so with its digest."""
    *lines, end = (bundle() if of is None else of).replace(old, new, 1).splitlines(keepends=True)
    stated = hashlib.sha256(b"".join(lines)).hexdigest().encode()
    return b"".join(lines) + re.sub(rb'(?<="sha256":")[0-9a-f]*', stated, end)


def test_what_is_written_is_read(read):
    parser = BundleParser(OPTIONS)
    reading = read(parser, [bundle()])
    assert reading.added == [
        ("MD5", MD5.hex(), SAID[1], 1),
        ("MD5", MD5.hex(), SAID[0], 2),
        ("PHOTODNA", PHOTODNA.hex(), SAID[1], 1),
        ("PDQ", PDQ.hex(), SAID[2], 1),
    ]
    assert reading.keyed == [KeyedRecord(1, "a key")]
    assert parser.header == HEADER
    assert reading.tally.declared_records == reading.tally.records == 2


def test_an_empty_list_is_a_bundle_too(read):
    reading = read(BundleParser(OPTIONS), [bundle([], [])])
    assert not reading.error
    assert reading.tally.records == 0


def test_what_cannot_be_served_is_refused_alone(read):
    odd = bundle([("k", [(Algorithm.MD5, bytes(16), 0), (Algorithm.MD5, MD5, 0)])])
    reading = read(BundleParser(OPTIONS), [odd])
    assert reading.tally.examples == {"degenerate": [1]}
    newer = changed(b'"md5"', b'"md7"', bundle([("k", [(Algorithm.MD5, MD5, 0)])]))
    reading = read(BundleParser(OPTIONS), [newer])
    assert reading.tally.examples == {"unknown-algorithm": [1]}


def test_the_end_of_a_bundle_is_missed(read):
    whole = bundle()
    for end in range(len(whole)):
        assert read(BundleParser(OPTIONS), [whole[:end]]).error, end


@pytest.mark.parametrize("line", range(6))
@pytest.mark.parametrize("how", ["drop", "twice"])
def test_lines_that_are_missing_or_too_many_are_told(read, line, how):
    lines = bundle().splitlines(keepends=True)
    lines[line : line + 1] = [] if how == "drop" else [lines[line]] * 2
    assert read(BundleParser(OPTIONS), [b"".join(lines)]).error


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"hashmatch_bundle":1', b'"hashmatch_bundle":2'),
        (b'"md5"', b"5"),
        (b",1]", b",9]"),
        (b",1]", b",-1]"),
        (b'"key"', b'"kee"'),
        (b'"A1"', b'"' + b"x" * 201 + b'"'),
        (b'"counts"', b'"count"'),
        (b'"nature":2', b'"nature":99'),
        (b'"a key"', b'"' + b"k" * 201 + b'"'),
        (b'["a","b"]', b"[" + b",".join(b'"f%d"' % number for number in range(65)) + b"]"),
        (b'"2025-12-31"', b'"not a date"'),
        (b'"2025-12-31"', b'"20251231"'),
        (b'"2025-12-31"', b'"2025-02-30"'),
        (b'{"counts"', b'{"key":"k","counts"'),
        (b'{"counts"', b'{"hashes":[],"counts"'),
        (b'{"counts"', b'{"statement":["","","",[],""],"counts"'),
        (b'{"key":"a key"', b'{"sha256":"00","key":"a key"'),
        (b'{"key":"a key"', b'{"statement":["","","",[],""],"key":"a key"'),
        (b'{"statement"', b'{"key":"k","statement"'),
    ],
)
def test_what_a_bundle_does_not_say_is_refused_as_a_whole(read, old, new):
    assert old in bundle()
    error = read(BundleParser(OPTIONS), [changed(old, new)]).error
    assert error
    assert "digest" not in error


def test_a_bundle_that_was_changed_in_one_byte_is_refused_as_a_whole(read):
    whole = bundle()
    assert not read(BundleParser(OPTIONS), [changed(b"", b"")]).error
    for at in range(len(whole)):
        edited = bytearray(whole)
        edited[at] ^= 1
        assert read(BundleParser(OPTIONS), [bytes(edited)]).error, at


@pytest.mark.parametrize("line", range(5))
def test_lines_in_another_order_are_refused_as_a_whole(read, line):
    lines = bundle().splitlines(keepends=True)
    lines[line : line + 2] = reversed(lines[line : line + 2])
    assert read(BundleParser(OPTIONS), [b"".join(lines)]).error


def test_it_is_recognised():
    assert recognises(bundle())
    assert not recognises(b'{"hashmatch": 1}')


statements = st.builds(
    Statement,
    *[st.text(st.characters(exclude_categories=["Cs"]), max_size=20)] * 3,
    flags=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=3).map(tuple),
    updated_on=st.one_of(st.just(""), st.dates().map(str)),
    since_generation=st.just(0),
    frames=st.just(0),
)


@settings(deadline=None)
@given(
    said=st.lists(statements, min_size=1, max_size=4, unique=True),
    entries=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
            st.lists(
                st.tuples(st.sampled_from(sorted(EXACT_ALGORITHMS)), st.integers(0, 99), st.integers(0, 3)),
                min_size=1,
                max_size=4,
            ),
        ),
        max_size=5,
    ),
    cuts=st.lists(st.integers(0, 10_000), max_size=5),
)
def test_anything_that_can_be_stated_travels_whole_however_it_is_cut(read, read_cut, said, entries, cuts):
    def digest(algorithm, number):
        return hashlib.shake_256(b"%d" % number).digest(algorithm.digest_size)

    given_entries = [
        (key, [(algorithm, digest(algorithm, number), which % len(said)) for algorithm, number, which in hashes])
        for key, hashes in entries
    ]
    reading = read_cut(BundleParser(OPTIONS), bundle(given_entries, said), cuts)
    assert not reading.error
    assert sorted(map(str, reading.added)) == sorted(
        str((algorithm.name, value.hex(), said[which], record))
        for record, (_, hashes) in enumerate(given_entries, 1)
        for algorithm, value, which in hashes
    )
    assert reading.keyed == [KeyedRecord(record, key) for record, (key, _) in enumerate(given_entries, 1) if key]


@given(at=st.integers(0, 9_999), damage=st.binary(max_size=3))
def test_damage_raises_nothing_else(read, at, damage):
    whole = bundle()
    at %= len(whole)
    read(BundleParser(OPTIONS), [whole[:at] + damage + whole[at + 1 :]])
