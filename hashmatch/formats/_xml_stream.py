"""XML documents as a stream of bytes: expat behind guards, with one document or several in a delivery.

Between two records a format may read on by itself, as long as records are **plain**: so written that a regular
expression of the format tells that they are well-formed and what they say. Expat, which calls back for every tag, never
sees those, and what it makes of the rest is the same: inside a group, whole elements may be left out anywhere.

What expat would take in and we do not: document type declarations (and with them entities), nesting without end, ever
new names, and megabytes in which no record ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from xml.parsers import expat

from hashmatch.formats.delivery import DeliveryError

MAXIMUM_DEPTH = 64
# Between the ends of two records. Bounds what expat and the handlers hold.
MAXIMUM_STRETCH = 1_048_576
# Characters of the different names, prefixes and namespaces of one document. The parser keeps each of them to its end.
MAXIMUM_NAMES = 262_144

# Where so many records behind a record were not plain, the rest of what was fed is left to expat as a whole.
_IN_VAIN = 8
_WHITE_SPACE = b" \t\r\n"
_NO_ELEMENTS = expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]

# The root is at depth 1, what it groups records by at 2, a record at 3.
_GROUP, _RECORD, _PART, _CHILD = 2, 3, 4, 5

Attributes = dict[str, str]


# Elements of a record: name ("NAMESPACE LOCAL"), attributes, the text that stands last in it; of a part, which stands
# right inside the record, also its children. What is deeper is not looked at.
Child = tuple[str, Attributes, str]
Part = tuple[str, Attributes, str, list[Child]]


class RecordHandler(Protocol):
    """Takes what documents hold."""

    @property
    def record(self) -> int:
        """The number of the last record."""
        ...

    def start_group(self, name: str, attributes: Attributes) -> None:
        """Take an element right inside the root."""
        ...

    def take_record(self, group: str, name: str, parts: list[Part]) -> None:
        """Take a record that has ended, with its parts in document order."""
        ...

    def take_plain(self, group: str, text: str, start: int) -> int:
        """Take plain records that follow on each other from `start`, and return where the last of them ends.

        ASCII is what it looks like, except what expat lets encodings replace: dollar, at, backslash, caret, backtick,
        braces, tilde. All else is bytes. Names without a prefix are in the namespace of the root.
        """
        ...


@dataclass(slots=True)
class _Document:
    """What is known of the document that is being read. Positions count the bytes that the parser was fed of it."""

    fed: int = 0
    progress_at: int = 0
    end_tag: int = 0
    begun: bool = False
    # Whether a record has just ended, so that plain ones may follow.
    between: bool = False
    group: str = ""
    # Of the open elements that say so, the namespaces of names without a prefix.
    defaults: list[str | None] = field(default_factory=list)
    names: int = 0


class XmlDocuments:
    """Reads one document after the other, each with the element `root`, "NAMESPACE LOCAL".

    `plain` are the local names of records that may be plain. Raises only `DeliveryError` and what the handler raises.
    """

    def __init__(self, root: str, plain: Iterable[str], handler: RecordHandler) -> None:
        self._root = root
        self._namespace = root.partition(" ")[0]
        self._plain_end = re.compile(rb"</(?:%b)>" % b"|".join(name.encode() for name in plain))
        self._handler = handler
        self._documents = 0
        self._document = _Document()
        self._parser = self._begin()

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        text = ""
        at = in_vain = 0
        while at < len(data):
            if self._document.between:
                text = text or data.decode("latin-1")
                start, at = at, self._take_plain(text, at)
                if at == len(data):
                    return
                in_vain += at == start
            end_tag = self._plain_end.search(data, at) if in_vain < _IN_VAIN else None
            end = len(data) if end_tag is None else end_tag.end()
            at = end - len(self._parse(data[at:end]))
            document = self._document
            # Here is the end tag of a record if expat has it too: else it is in a comment, say, or in UTF-16.
            document.between = (
                end_tag is not None
                and document.progress_at == document.fed - len(end_tag.group())
                and document.defaults[-1:] == [self._namespace]
            )

    def _take_plain(self, text: str, start: int) -> int:
        document = self._document
        end = self._handler.take_plain(document.group, text, start)
        if end > start:
            document.progress_at = document.fed - (end - text.rindex("<", start, end))
        return end

    def _parse(self, data: bytes) -> bytes:
        """Feed the parser. Returns what follows on the document if it ends."""
        document = self._document
        if not document.fed:
            # White space between documents, and what a careless tool puts before the first, is none of theirs.
            data = data.lstrip(_WHITE_SPACE)
            if not data:
                return b""
        document.fed += len(data)
        try:
            self._parser.Parse(data)
        except _DocumentEnd:
            return self._after_end(data)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise self._malformed(error) from None
        self._check_stretch(document.fed)
        self._check_names()
        return b""

    def finish(self) -> None:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        if not self._document.fed and self._documents:
            return
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            if self._documents and not self._document.begun:
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
        of_part: Attributes = {}
        of_child: Attributes = {}
        children: list[Child] = []
        parts: list[Part] = []
        # A method of the list is no call of ours.
        clear, joined = text.clear, "".join
        take_record, progress = self._handler.take_record, self._progress

        def start(name: str, attributes: Attributes) -> None:
            nonlocal depth, of_part, of_child
            depth += 1
            clear()
            if depth == _CHILD:
                of_child = attributes
            elif depth == _PART:
                of_part = attributes
            elif depth < _RECORD:
                self._start_outside(depth, name, attributes)
            elif depth > MAXIMUM_DEPTH:
                raise self._error(f"more than {MAXIMUM_DEPTH} elements inside each other")

        def end(name: str) -> None:
            nonlocal depth, children, parts
            if depth == _CHILD:
                children.append((name, of_child, joined(text)))
            elif depth == _PART:
                parts.append((name, of_part, joined(text), children))
                children = []
            elif depth == _RECORD:
                take_record(self._document.group, name, parts)
                parts = []
                progress()
            elif depth < _GROUP:
                # The parser goes on to the end of what it was given before it lets the exception out.
                self._document.end_tag = self._parser.CurrentByteIndex
                raise _DocumentEnd
            clear()
            depth -= 1

        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartNamespaceDeclHandler = self._start_namespace
        parser.EndNamespaceDeclHandler = self._end_namespace
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text.append
        return parser

    def _start_outside(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        if depth == _GROUP:
            self._document.group = name
            self._handler.start_group(name, attributes)
        elif name != self._root:
            raise DeliveryError(f"the root element is not {self._root.rpartition(' ')[2]} of the format's namespace")
        else:
            self._document.begun = True

    def _progress(self) -> None:
        """A record has ended."""
        at = self._parser.CurrentByteIndex
        self._check_stretch(at)
        self._document.progress_at = at

    def _after_end(self, data: bytes) -> bytes:
        """What follows the end tag of the root, which may have begun in bytes before `data`."""
        end = max(0, self._document.end_tag - (self._document.fed - len(data)))
        # Of an element that is empty, the parser has passed the tag already.
        if end == 0 or data[end : end + 2].strip(b"\0").startswith(b"<"):
            end = data.index(b">", end) + 1
        self._documents += 1
        self._document = _Document()
        self._parser = self._begin()
        return data[end:].lstrip(b"\0")

    def _check_stretch(self, at: int) -> None:
        if at - self._document.progress_at > MAXIMUM_STRETCH:
            raise self._error(f"more than {MAXIMUM_STRETCH} bytes without the end of a record")

    def _check_names(self) -> None:
        names = self._parser.intern
        if len(names) != self._document.names:
            self._document.names = len(names)
            # Among them is None, the prefix of a default namespace.
            if sum(len(name or "") for name in names) > MAXIMUM_NAMES:
                raise self._error(f"different names of more than {MAXIMUM_NAMES} characters")

    def _declare(self, *_: object) -> None:
        self._document.begun = True

    def _start_namespace(self, prefix: str | None, namespace: str | None) -> None:
        if prefix is None:
            self._document.defaults.append(namespace)

    def _end_namespace(self, prefix: str | None) -> None:
        if prefix is None:
            self._document.defaults.pop()

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
