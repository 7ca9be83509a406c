"""XML documents as a stream of bytes: expat behind guards, with one document or several in a delivery.

What expat would take in and we do not: document type declarations (and with them entities), nesting without end, and
megabytes in which no record ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.parsers import expat

from hashmatch.formats.delivery import DeliveryError

MAXIMUM_DEPTH = 64
# Between the ends of two records. Bounds what expat and the handlers hold.
MAXIMUM_STRETCH = 1_048_576

_WHITE_SPACE = b" \t\r\n"
_NO_ELEMENTS = expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]

# Take the name of an element, "NAMESPACE LOCAL", with its attributes or with the text that stands last in it.
StartHandler = Callable[[str, dict[str, str]], None]
EndHandler = Callable[[str, str], None]


class XmlDocuments:
    """Reads one document after the other, each with the element `root`.

    `starts` and `ends` are called by depth: the root's is 1. `record` is the number of the record that is being read,
    for error messages; whoever handles the elements keeps it, and says with `progress` that a record has ended.
    Raises only `DeliveryError` and what the handlers raise.
    """

    def __init__(self, root: str, starts: Mapping[int, StartHandler], ends: Mapping[int, EndHandler]) -> None:
        self.record = 0
        self._root = root
        self._starts = starts
        self._ends = ends
        self._documents = 0
        self._begin()

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

    def progress(self) -> None:
        """Say that a record has ended."""
        at = self._parser.CurrentByteIndex
        self._check_stretch(at)
        self._progress_at = at

    def finish(self) -> None:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        if not self._fed and self._documents:
            return
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            # Comments may stand behind the last document.
            if self._documents and error.code == _NO_ELEMENTS:
                return
        except (ValueError, LookupError) as error:
            raise self._malformed(error) from None
        raise DeliveryError("truncated: the document does not end", record=self.record)

    def _begin(self) -> None:
        self._depth = 0
        self._fed = 0
        self._progress_at = 0
        self._text: list[str] = []
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        # The list's own method, so that text costs no call of ours.
        parser.CharacterDataHandler = self._text.append
        self._parser = parser

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._text.clear()
        self._depth = depth = self._depth + 1
        if depth == 1 and name != self._root:
            raise DeliveryError(f"the root element is not {self._root.rpartition(' ')[2]} of the format's namespace")
        if depth > MAXIMUM_DEPTH:
            raise DeliveryError(f"more than {MAXIMUM_DEPTH} elements inside each other", record=self.record)
        handle = self._starts.get(depth)
        if handle is not None:
            handle(name, attributes)

    def _end(self, name: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        handle = self._ends.get(depth)
        if handle is not None:
            handle(name, "".join(self._text))
        self._text.clear()
        if depth == 1:
            raise _DocumentEnd

    def _after_end(self, data: bytes) -> bytes:
        """What follows the end tag of the root, which may have begun in bytes before `data`."""
        begins = self._parser.CurrentByteIndex - (self._fed - len(data))
        end = data.index(b">", max(0, begins)) + 1
        self._documents += 1
        self._begin()
        return data[end:].lstrip(b"\0")

    def _check_stretch(self, at: int) -> None:
        if at - self._progress_at > MAXIMUM_STRETCH:
            raise DeliveryError(f"more than {MAXIMUM_STRETCH} bytes without the end of a record", record=self.record)

    def _refuse_doctype(self, *_: object) -> None:
        raise DeliveryError("a document type declaration, which no delivery needs", record=self.record)

    def _malformed(self, error: Exception) -> DeliveryError:
        # The library's own words for the fault, which quote nothing of the document.
        fault = expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else "unknown encoding"
        return DeliveryError(f"this is not well-formed XML: {fault}", record=self.record)


class _DocumentEnd(Exception):  # noqa: N818
    """The root element has ended."""
