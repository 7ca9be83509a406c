import hashlib
import sqlite3
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.nsrl import LONGEST_LINE, NsrlCsvParser, NsrlSqliteParser, recognises_csv, recognises_sqlite
from hashmatch.formats.registry import FORMATS

HEADER = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"'


def digests(number):
    content = b"harmless %d" % number
    return hashlib.sha1(content).hexdigest(), hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()


def row(number, name="a name.dll"):
    sha1, md5, _ = digests(number)
    return f'"{sha1.upper()}","{md5.upper()}","0123ABCD","{name}",42,7,"362",""'


def expected(*numbers):
    return sorted([("SHA1", digests(n)[0]) for n in numbers] + [("MD5", digests(n)[1]) for n in numbers])


def added(reading):
    assert not reading.error
    return sorted((name, digest) for name, digest, *_ in reading.added)


def test_both_are_corpora_of_known_good_files_only():
    assert FORMATS["nsrl-csv"].known_good
    assert FORMATS["nsrl-sqlite"].known_good


class TestVersion2:
    def read(self, read, *rows, end="\r\n"):
        return read(NsrlCsvParser(ParserOptions()), [end.join([HEADER, *rows, ""]).encode("latin-1")])

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("name", ["plain", 'with ""quotes""', "with,commas", "\xe4\xff", 'broken " quote'])
    def test_rows_arrive_whatever_their_names(self, read, end, name):
        reading = self.read(read, row(1, name), row(2, name), end=end)
        assert added(reading) == expected(1, 2)
        assert (reading.tally.records, reading.tally.read) == (2, 4)

    @pytest.mark.parametrize("line", ["x", '"",""', f'"{"0" * 39}"', f"{'0' * 40},{'0' * 32}"])
    def test_what_is_no_row_is_refused_alone(self, read, line):
        reading = self.read(read, row(1), line, row(2))
        assert added(reading) == expected(1, 2)
        assert {line for lines in reading.tally.examples.values() for line in lines} == {3}

    def test_the_first_rows_that_are_refused_are_named_in_order(self, read):
        reading = self.read(read, f'"{"x" * 40}","{digests(1)[1]}",""', "x", f'"{"x" * 40}","{digests(2)[1]}",""')
        assert reading.tally.examples == {"not-hex": [2, 3, 4]}

    def test_empty_files_and_flat_digests_are_refused_alone(self, read):
        empty = f'"{hashlib.sha1(b"").hexdigest()}","{hashlib.md5(b"").hexdigest()}",""'
        flat = f'"{"0" * 40}","{digests(9)[1]}",""'
        reading = self.read(read, row(1), empty, flat)
        assert reading.tally.examples == {"empty-file-digest": [3, 3], "degenerate": [4]}
        assert added(reading) == sorted([*expected(1), ("MD5", digests(9)[1])])

    def test_long_lines_are_refused_alone(self, read):
        reading = self.read(read, row(1), "x" * (4 * LONGEST_LINE), row(2))
        assert added(reading) == expected(1, 2)
        assert reading.tally.examples == {"line-too-long": [3]}

    @pytest.mark.parametrize("beyond", [0, 1])
    @pytest.mark.parametrize("size", [1_000, LONGEST_LINE, 1 << 20])
    def test_long_lines_are_refused_wherever_they_are_cut(self, read, size, beyond):
        line = row(2, "x" * (LONGEST_LINE + beyond - len(row(2, ""))))
        data = "\n".join([HEADER, row(1), line, row(3), ""]).encode()
        reading = read(NsrlCsvParser(ParserOptions()), [data[at : at + size] for at in range(0, len(data), size)])
        assert added(reading) == expected(*((1, 3) if beyond else (1, 2, 3)))
        assert reading.tally.examples == ({"line-too-long": [3]} if beyond else {})

    def test_another_header_is_told(self, read):
        assert "header" in read(NsrlCsvParser(ParserOptions()), [b'"MD5","SHA-1"\n']).error
        assert read(NsrlCsvParser(ParserOptions()), [b""]).error
        assert recognises_csv(HEADER.encode())
        assert not recognises_csv(b"SHA-1,MD5")

    def test_an_end_within_hashes_is_told(self, read):
        whole = "\n".join([HEADER, row(1)]).encode()
        for end in range(len(HEADER) + 2, len(HEADER) + 78):
            assert "truncated" in read(NsrlCsvParser(ParserOptions()), [whole[:end]]).error

    @given(cuts=st.lists(st.integers(0, 10_000), max_size=6), at=st.integers(0, 999), damage=st.binary(max_size=2))
    def test_cuts_do_not_matter(self, read, read_cut, cuts, at, damage):
        whole = "\n".join([HEADER, row(1), row(2), row(3), ""]).encode()
        at %= len(whole)
        whole = whole[:at] + damage + whole[at + 1 :]
        straight = read(NsrlCsvParser(ParserOptions()), [whole])
        assert read_cut(NsrlCsvParser(ParserOptions()), whole, cuts).outcome() == straight.outcome()


SCHEMA = "CREATE TABLE FILE (sha1 TEXT, sha256 TEXT, md5 TEXT, package_id INTEGER); CREATE TABLE PKG (name TEXT);"


def database(statements, rows=(), insert="INSERT INTO FILE VALUES (?, ?, ?, 1)"):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "it"
        connection = sqlite3.connect(path)
        connection.executescript(statements)
        if rows:
            connection.executemany(insert, rows)
        connection.commit()
        connection.close()
        return path.read_bytes()


class TestVersion3:
    def read(self, read, data, pieces=3, **options):
        size = len(data) // pieces + 1
        return read(
            NsrlSqliteParser(ParserOptions(), **options), [data[at : at + size] for at in range(0, len(data), size)]
        )

    def test_rows_arrive_with_three_hashes(self, read):
        known = [digests(number) for number in range(3)]
        data = database(SCHEMA, [(sha1.upper(), sha256, md5) for sha1, md5, sha256 in known])
        reading = self.read(read, data)
        assert added(reading) == sorted([*expected(0, 1, 2), *(("SHA256", sha256) for _, _, sha256 in known)])
        assert recognises_sqlite(data)

    @pytest.mark.parametrize("page_size", [512, 1_024, 65_536])
    def test_pages_may_have_any_size(self, read, page_size):
        sha1, md5, sha256 = digests(1)
        data = database(f"PRAGMA page_size = {page_size}; {SCHEMA}", [(sha1, sha256, md5)])
        assert len(self.read(read, data).added) == 3
        assert self.read(read, data[:-512]).error

    def test_a_view_serves_as_the_table(self, read):
        sha1, md5, _ = digests(1)
        schema = "CREATE TABLE M (a, b); CREATE VIEW FILE AS SELECT a AS sha1, b AS md5 FROM M"
        assert added(self.read(read, database(schema, [(sha1, md5)], "INSERT INTO M VALUES (?, ?)"))) == expected(1)

    @pytest.mark.parametrize("odd", [5, b"\xff", "zz", "0" * 40, 1.5, "é" * 40])
    def test_odd_values_are_refused_alone(self, read, odd):
        sha1, md5, sha256 = digests(1)
        reading = self.read(read, database(SCHEMA, [(sha1, sha256, md5), (odd, None, ""), (None, None, None)]))
        assert len(reading.added) == 3
        assert sum(len(records) for records in reading.tally.examples.values()) == 2

    @pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le"])
    @pytest.mark.parametrize(
        ("md5", "reason"),
        [
            (f" {digests(1)[1]}\n", ""),
            (digests(1)[1] + " " * 1_000, "bad-value"),
            (digests(1)[1] + " " * 300 + "x", "bad-value"),
            (digests(1)[1] + "\0x", "wrong-length"),
            ("x" * 100_000, "bad-value"),
        ],
    )
    def test_values_that_are_long_are_refused_alone(self, read, encoding, md5, reason):
        sha1, good, sha256 = digests(2)
        data = database(f"PRAGMA encoding = '{encoding}'; {SCHEMA}", [(None, None, md5), (sha1, sha256, good)])
        reading = self.read(read, data)
        assert len(reading.added) == 3 + (not reason)
        assert set(reading.tally.quarantined) <= {reason, "not-hex"}

    @pytest.mark.parametrize("value", ["printf('%.900000c', 'x')", "CASE WHEN random() & 1 THEN zeroblob(900000) END"])
    def test_a_view_that_makes_much_of_nothing_takes_no_memory(self, read, value):
        data = database(
            f"CREATE TABLE M (a); CREATE VIEW FILE AS SELECT {value} AS md5 FROM M",
            [(number,) for number in range(200)],
            "INSERT INTO M VALUES (?)",
        )
        tracemalloc.start()
        try:
            reading = self.read(read, data)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
        assert not reading.added
        assert reading.tally.quarantined.total() == 200

    @pytest.mark.parametrize(
        "schema",
        [
            "CREATE TABLE OTHER (sha1)",
            "CREATE TABLE FILE (name TEXT)",
            "CREATE VIEW FILE AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i md5 FROM n",
            "CREATE VIEW FILE AS SELECT load_extension('x') AS md5",
            "CREATE VIEW FILE AS SELECT hex(zeroblob(900000000)) AS md5",
            "CREATE TABLE T (a); INSERT INTO T VALUES (1),(1),(1),(1),(1),(1),(1),(1),(1),(1);"
            "CREATE VIEW FILE AS SELECT NULL AS md5 FROM T a, T b, T c, T d, T e, T f, T g, T h, T i, T j",
        ],
    )
    def test_a_database_that_would_do_more_than_be_read_is_ended(self, read, schema):
        assert self.read(read, database(schema)).error

    def test_a_write_ahead_log_that_is_not_there_is_not_missed(self, read):
        data = database("CREATE TABLE FILE (md5)", [(digests(1)[1],)], "INSERT INTO FILE VALUES (?)")
        assert added(self.read(read, data[:18] + b"\2\2" + data[20:])) == [("MD5", digests(1)[1])]

    def test_a_truncated_database_is_told(self, read):
        known = [digests(number) for number in range(500)]
        data = database(SCHEMA, [(sha1, sha256, md5) for sha1, md5, sha256 in known])
        for end in (0, 5, 16, 100, 4_096, len(data) // 2, len(data) - 1):
            assert self.read(read, data[:end]).error

    def test_its_size_is_bounded(self, read):
        assert "more than 4096 bytes" in self.read(read, database(SCHEMA), largest=4_096).error

    def test_it_leaves_nothing_behind(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        data = database("CREATE TABLE FILE (md5)", [(digests(1)[1],)], "INSERT INTO FILE VALUES (?)")
        parser = NsrlSqliteParser(ParserOptions())
        list(parser.feed(data))
        assert not list(tmp_path.iterdir())
        assert len(list(parser.finish())) == 1

    @settings(deadline=None)
    @given(at=st.integers(0, 100_000), damage=st.binary(min_size=1, max_size=4))
    def test_damage_raises_nothing_else(self, read, at, damage):
        data = database(SCHEMA, [(sha1, sha256, md5) for sha1, md5, sha256 in map(digests, range(20))])
        at %= len(data)
        self.read(read, data[:at] + damage + data[at + len(damage) :])
