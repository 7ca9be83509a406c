"""The format `hash-text`: one digest a line, as people and the checksum tools write them.

The rules, in the order in which they apply to a line:

* A byte order mark decides between UTF-8 and UTF-16. Lines end with LF, CR LF or CR; the last one may have no end.
* A line of more than 65,536 bytes is refused. White space around a line does not count; a line that is then empty or
  begins with `#` is no record.
* A line that begins with hexadecimal digits followed by white space, a comma, a semicolon or its end holds the digest
  of the algorithm that has so many digits. The digits may be quoted, or preceded by the backslash with which the
  checksum tools mark a name that they escaped.
* A line `ALGORITHM (name) = DIGITS` holds the digest of the algorithm that it names.
* Every other line is refused, and so are digests of the empty file and digests of equal bits.

Sixty-four digits are SHA-256: a list of any other 256-bit hash has to come in the format `columns`, which names it.
"""

from __future__ import annotations

from collections.abc import Iterator

from hashmatch.formats._hex_kernel import MAXIMUM_LINE, LineScanner
from hashmatch.formats._text import Blocks, Utf8Stream
from hashmatch.formats.delivery import Chunk, Column, DeliveryError, ParserOptions, Tally
from hashmatch.model.opinions import Statement


class HashTextParser:
    """Reads one delivery of hash text. Every line states the same: `statements` is what the importer states.

    `tally.records` and `tally.read` count the lines that are neither blank nor comments.
    """

    def __init__(self, options: ParserOptions) -> None:
        self.statements = [Statement(options.label, options.scheme, options.jurisdiction)]
        self.tally = Tally()
        self._blocks = Blocks()
        self._stream = Utf8Stream()
        self._scanner = LineScanner()
        self._unfinished = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere. At most one chunk comes of them."""
        if block := self._blocks.add(data):
            yield from self._scan(self._stream.convert(block))

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it ends within a character."""
        yield from self._scan(self._stream.convert(self._blocks.rest()) + self._stream.rest(), last=True)
        self._stream.check_whole()

    def _scan(self, text: bytes, *, last: bool = False) -> Iterator[Chunk]:
        no_text = text.find(b"\0")
        if no_text >= 0:
            text = text[:no_text]
        if self._skipping:
            text = _from_end_of_line(text)
            self._skipping = not text
        block = self._unfinished + text
        if last and block and no_text < 0:
            block += b"\n"
        scan = self._scanner.scan(block)
        if no_text >= 0:
            raise DeliveryError("this is not text", record=self._scanner.line + 1)
        self.tally.records += scan.records
        self.tally.read += scan.records
        for reason, count, lines in scan.refusals:
            for line in lines[:-1]:
                self.tally.quarantine(reason, line)
            self.tally.quarantine(reason, lines[-1], count - len(lines) + 1)
        self._unfinished = block[scan.consumed :]
        if len(self._unfinished) > MAXIMUM_LINE:
            self._skip_line()
        if scan.digests:
            yield Chunk(tuple(Column(algorithm, digests, statements=0) for algorithm, digests in scan.digests))

    def _skip_line(self) -> None:
        """Refuse the unfinished line and forget it. Its end, when it comes, reads as that of an empty line."""
        self.tally.records += 1
        self.tally.read += 1
        self.tally.quarantine("line-too-long", self._scanner.line + 1)
        self._unfinished = b""
        self._skipping = True


def _from_end_of_line(text: bytes) -> bytes:
    """`text` from its first line end on; nothing if it has none."""
    return text[len(text.replace(b"\r", b"\n").partition(b"\n")[0]) :]
