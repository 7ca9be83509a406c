"""`formats`: reading large documents of the formats that are streamed, beside the bare streaming parser.

The bare parser is expat with handlers that do nothing for NCMEC's XML, and ijson's fastest backend, whose events nobody
looks at, for Project VIC's JSON. Each reading has a process of its own, whose peak memory is that of the reading. Both
sides work in one thread; their processor time is measured, so that whatever else runs counts for little.
"""

from __future__ import annotations

import base64
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers import expat

import ijson
import numpy as np

from bench.harness import BenchmarkError
from bench.report import Effort, Reporter
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.registry import open_parser

_BLOCK = 1 << 20
_PATIENCE = 1_800
_RECORDS_AT_ONCE = 1_000
_SIZE_OF_RANDOM = 16 + 20 + 32 + 144
_MEGABYTE = 1_000_000
_OURS = "ours"
_BARE = {"ncmec": "expat, handlers that do nothing", "vics": f"ijson ({ijson.backend}), events not looked at"}


async def run(reporter: Reporter, effort: Effort) -> None:
    """Measure."""
    for name in DOCUMENTS:
        peaks: list[int] = []
        for size in effort.documents:
            with tempfile.TemporaryDirectory(prefix="hashmatch-bench-") as directory:
                path = Path(directory) / name
                reporter.progress(f"{name}: writing {size:,} MB")
                records = write(path, name, size * _MEGABYTE)
                under = reporter.under(format=name, document_bytes=path.stat().st_size, records=records)
                found: dict[str, list[tuple[float, int]]] = {_OURS: [], _BARE[name]: []}
                for _ in range(effort.readings):
                    for side, readings in found.items():
                        reporter.progress(f"{name}: {size:,} MB, {side}")
                        readings.append(_in_a_process(side, name, path, records))
                rates = {
                    side: path.stat().st_size / _MEGABYTE / statistics.median(seconds for seconds, _ in readings)
                    for side, readings in found.items()
                }
                peaks.append(max(peak for _, peak in found[_OURS]))
            under.line(f"{name}, {size:,} MB", rates[_OURS], "MB/s", "higher", _BARE[name], rates[_BARE[name]])
        small, large = effort.documents[0], effort.documents[-1]
        comparator = f"peak memory, {small:,} MB"
        under.line(f"{name}, peak memory, {large:,} MB", peaks[-1], "B", "lower", comparator, peaks[0])


def write(path: Path, name: str, size: int) -> int:
    """Write a document of about `size` bytes. Returns how many records it has."""
    head, record, separator, tail = DOCUMENTS[name]
    written = records = 0
    with path.open("w", encoding="ascii") as file:
        file.write(head)
        for values in _random_values():
            text = separator.join(record(records + index, value) for index, value in enumerate(values))
            written += file.write(f"{separator}{text}" if records else text)
            records += len(values)
            if written >= size:
                break
        file.write(tail)
    return records


def _random_values() -> Iterator[list[bytes]]:
    random = np.random.default_rng(1)
    while True:
        packed = random.bytes(_RECORDS_AT_ONCE * _SIZE_OF_RANDOM)
        yield [packed[start : start + _SIZE_OF_RANDOM] for start in range(0, len(packed), _SIZE_OF_RANDOM)]


def _ncmec_entry(index: int, value: bytes) -> str:
    kind = "deletedImage" if index % 50 == 49 else "image"
    said = (
        ""
        if kind == "deletedImage"
        else f"""<classification>{("A1", "A2", "B1", "B2")[index % 4]}</classification>
            <fingerprints>
                <md5>{value[:16].hex()}</md5>
                <sha1>{value[16:36].hex()}</sha1>
                <pdna>{base64.b64encode(value[68:]).decode()}</pdna>
                <pdq>{value[36:68].hex()}</pdq>
            </fingerprints>"""
    )
    return f"""        <{kind}>
            <member id="{index % 9}">An example of a member</member>
            <timestamp>2026-{index % 12 + 1:02}-{index % 28 + 1:02}T{index % 24:02}:{index % 60:02}:00Z</timestamp>
            <id>entry-{index}</id>
            {said}
        </{kind}>
"""


def _vics_media(index: int, value: bytes) -> str:
    day = f"2026-{index % 12 + 1:02}-{index % 28 + 1:02}"
    return json.dumps(
        {
            "MediaID": index,
            "Category": index % 4,
            "MD5": value[:16].hex().upper(),
            "SHA1": value[16:36].hex().upper(),
            "PhotoDNA": base64.b64encode(value[68:]).decode(),
            "MediaSize": index * 7,
            "MimeType": "image/jpeg",
            "DateUpdated": f"{day}T{index % 24:02}:{index % 60:02}:00Z",
            "VictimIdentified": "true" if index % 5 == 0 else "false",
            "OffenderIdentified": "false",
            "IsDistributed": "true" if index % 3 == 0 else "false",
            "IsPrecategorized": "false",
            "Series": f"A series {index % 40}" if index % 4 == 0 else "",
            "Tags": "one,two" if index % 8 == 0 else "",
            "AlternativeHashes": [],
        },
        indent=2,
    )


# Of each format what a document begins with, its records, what separates them, and what it ends with.
DOCUMENTS: dict[str, tuple[str, Callable[[int, bytes], str], str, str]] = {
    "ncmec": (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">\n    <images>\n',
        _ncmec_entry,
        "",
        "    </images>\n</queryResult>\n",
    ),
    "vics": (
        '{"@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media",\n'
        '"value": [\n',
        _vics_media,
        ",\n",
        "\n]}\n",
    ),
}


def _in_a_process(side: str, name: str, path: Path, records: int) -> tuple[float, int]:
    """The seconds of processor time that a reading takes, and the peak memory of its process in bytes."""
    command = [sys.executable, "-m", "bench.formats", side, name, str(path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if finished.returncode:
        raise BenchmarkError(f"reading {name} failed: {finished.stderr}")
    outcome = json.loads(finished.stdout)
    if side == _OURS and outcome["records"] != records:
        raise BenchmarkError(f"{outcome['records']} of {records} records of {name} were read")
    return outcome["seconds"], outcome["peak_bytes"]


def _read_ours(name: str, path: Path) -> int:
    parser = open_parser(name, ParserOptions())
    for block in _blocks(path):
        for _ in parser.feed(block):
            pass
    for _ in parser.finish():
        pass
    if parser.tally.quarantined:
        raise BenchmarkError(f"of {name} was quarantined: {dict(parser.tally.quarantined)}")
    return parser.tally.records


def _read_bare(name: str, path: Path) -> int:
    if name == "vics":
        with path.open("rb") as file:
            for _ in ijson.basic_parse(file, buf_size=_BLOCK):
                pass
        return 0
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = lambda _name, _attributes: None
    parser.EndElementHandler = lambda _name: None
    parser.CharacterDataHandler = lambda _text: None
    for block in _blocks(path):
        parser.Parse(block)
    parser.Parse(b"", True)
    return 0


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def main(side: str, name: str, path: str) -> None:
    """Read one document and say on standard output what it took."""
    read = _read_ours if side == _OURS else _read_bare
    with tempfile.TemporaryDirectory() as directory:
        # Compiles the kernels.
        rehearsal = Path(directory) / name
        write(rehearsal, name, 1)
        read(name, rehearsal)
    start = time.process_time()
    records = read(name, Path(path))
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "records": records, "peak_bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
