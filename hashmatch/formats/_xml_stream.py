"""XML documents as a stream of bytes: expat behind guards, with one document or several in a delivery.

What expat would take in and we do not: document type declarations (and with them entities), nesting without end, and
megabytes in which no record ends.
"""

from __future__ import annotations

from typing import Protocol
from xml.parsers import expat

from hashmatch.formats.delivery import DeliveryError

MAXIMUM_DEPTH = 64
# Between the ends of two records. Bounds what expat and the handlers hold.
MAXIMUM_STRETCH = 1_048_576

_WHITE_SPACE = b" \t\r\n"
_NO_ELEMENTS = expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]

# The root is at depth 1, what it groups records by at 2, a record at 3.
_GROUP, _RECORD = 2, 3


# Something inside a record, in document order: depth (1 for what is right inside the record), name ("NAMESPACE LOCAL"),
# text, attributes. An element that has attributes is a part when it begins, without text; every element is one when it
# ends, without attributes, with the text that stands last in it.
Part = tuple[int, str, str, dict[str, str] | None]


class RecordHandler(Protocol):
    """Takes what documents hold."""

    @property
    def record(self) -> int:
        """The number of the last record."""
        ...

    def start_group(self, name: str, attributes: dict[str, str]) -> None:
        """Take an element right inside the root."""
        ...

    def take_record(self, group: str, name: str, parts: list[Part]) -> None:
        """Take a record that has ended. The list is used again."""
        ...


class XmlDocuments:
    """Reads one document after the other, each with the element `root`, "NAMESPACE LOCAL".

    Raises only `DeliveryError` and what the handler raises.
    """

    def __init__(self, root: str, handler: RecordHandler) -> None:
        self._root = root
        self._handler = handler
        self._documents = 0
        self._fed = 0
        self._progress_at = 0
        self._end_tag = 0
        self._begun = False
        self._group = ""
        self._parser = self._begin()

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        while data:
            if not self._fed:
                # White space between documents, and what a careless tool puts before the first, is none of theirs.
                data = data.lstrip(_WHITE_SPACE)
                if not data:
                    return
            self._fed += len(data)
            try:
                self._parser.Parse(data)
            except _DocumentEnd:
                data = self._after_end(data)
                continue
            except (expat.ExpatError, ValueError, LookupError) as error:
                raise self._malformed(error) from None
            self._check_stretch(self._fed)
            return

    def finish(self) -> None:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        if not self._fed and self._documents:
            return
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            if self._documents and not self._begun:
                # Comments may stand behind the last document.
                if error.code == _NO_ELEMENTS:
                    return
                raise self._malformed(error) from None
        except (ValueError, LookupError) as error:
            raise self._malformed(error) from None
        raise self._error("truncated: the document does not end")

    def _begin(self) -> expat.XMLParserType:
        """A parser for the next document. Its handlers run for every tag, so that they are as short as can be."""
        depth = 0
        text: list[str] = []
        parts: list[Part] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal depth
            depth += 1
            text.clear()
            if depth < _RECORD:
                self._start_outside(depth, name, attributes)
            elif attributes and depth > _RECORD:
                parts.append((depth - _RECORD, name, "", attributes))
            if depth > MAXIMUM_DEPTH:
                raise self._error(f"more than {MAXIMUM_DEPTH} elements inside each other")

        def end(name: str) -> None:
            nonlocal depth
            if depth > _RECORD:
                parts.append((depth - _RECORD, name, "".join(text), None))
            elif depth == _RECORD:
                self._handler.take_record(self._group, name, parts)
                parts.clear()
                self._progress()
            elif depth < _GROUP:
                # The parser goes on to the end of what it was given before it lets the exception out.
                self._end_tag = self._parser.CurrentByteIndex
                raise _DocumentEnd
            text.clear()
            depth -= 1

        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        # The list's own method, so that text costs no call of ours.
        parser.CharacterDataHandler = text.append
        return parser

    def _start_outside(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        if depth == _GROUP:
            self._group = name
            self._handler.start_group(name, attributes)
        elif name != self._root:
            raise DeliveryError(f"the root element is not {self._root.rpartition(' ')[2]} of the format's namespace")
        else:
            self._begun = True

    def _progress(self) -> None:
        """A record has ended."""
        at = self._parser.CurrentByteIndex
        self._check_stretch(at)
        self._progress_at = at

    def _after_end(self, data: bytes) -> bytes:
        """What follows the end tag of the root, which may have begun in bytes before `data`."""
        end = max(0, self._end_tag - (self._fed - len(data)))
        # Of an element that is empty, the parser has passed the tag already.
        if end == 0 or data[end : end + 2].strip(b"\0").startswith(b"<"):
            end = data.index(b">", end) + 1
        self._documents += 1
        self._fed = self._progress_at = 0
        self._begun = False
        self._parser = self._begin()
        return data[end:].lstrip(b"\0")

    def _check_stretch(self, at: int) -> None:
        if at - self._progress_at > MAXIMUM_STRETCH:
            raise self._error(f"more than {MAXIMUM_STRETCH} bytes without the end of a record")

    def _refuse_doctype(self, *_: object) -> None:
        raise self._error("a document type declaration, which no delivery needs")

    def _error(self, message: str) -> DeliveryError:
        return DeliveryError(message, record=self._handler.record)

    def _malformed(self, error: Exception) -> DeliveryError:
        # The library's own words for the fault, which quote nothing of the document.
        fault = expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else "unknown encoding"
        return self._error(f"this is not well-formed XML: {fault}")


class _DocumentEnd(Exception):  # noqa: N818
    """The root element has ended."""
