"""From the bytes of a delivery to its text, block by block: byte order marks, encodings, what is not text at all."""

from __future__ import annotations

import codecs

from hashmatch.formats.delivery import DeliveryError

# Smaller pieces are put together first, so that carrying an unfinished line along costs no more than reading it once.
BLOCK_SIZE = 65_536

# A delivery whose first bytes, this many, are neither UTF-8 nor free of control characters is not text.
_HEAD_SIZE = 4_096
_NOT_IN_TEXT = frozenset(range(0x20)) - frozenset(b"\t\n\v\f\r\x1b") | {0x7F}

_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LONGEST_MARK = 3


class Blocks:
    """Puts the pieces of a delivery together to blocks of at least BLOCK_SIZE bytes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> bytes:
        """Take `data`; returns the next block, or nothing while there is not enough for one."""
        if data:
            self._pieces.append(data)
            self._size += len(data)
        return self.rest() if self._size >= BLOCK_SIZE else b""

    def rest(self) -> bytes:
        """What has not been returned yet."""
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return block


def encoding_of(head: bytes) -> tuple[str, int] | None:
    """The encoding that a byte order mark at the beginning of `head` states, and the length of the mark; or None."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    return None


def head_text(head: bytes) -> str:
    """The text that a delivery begins with, as far as it can be decoded; for recognising a format."""
    encoding, length = encoding_of(head) or ("utf-8", 0)
    return head[length:].decode(encoding, "replace")


class TextDecoder:
    """Decodes one delivery of `encoding`, which a byte order mark overrules.

    Whatever cannot be decoded becomes U+FFFD, so that one damaged cell costs one record.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._head = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    def decode(self, data: bytes) -> str:
        """The text of the next bytes, as far as their characters are whole."""
        if self._decoder is None:
            self._head += data
            if len(self._head) < _LONGEST_MARK:
                return ""
            self._decoder, data = self._start()
        return self._decoder.decode(data)

    def rest(self) -> str:
        """The text that was held back for the sake of the byte order mark. Comes before `check_whole`."""
        if self._decoder is not None:
            return ""
        self._decoder, data = self._start()
        return self._decoder.decode(data)

    def check_whole(self) -> None:
        """Raise `DeliveryError` if the last character is not whole."""
        if self._decoder is not None and self._decoder.getstate()[0]:
            raise DeliveryError("truncated: the last character is not whole")

    def _start(self) -> tuple[codecs.IncrementalDecoder, bytes]:
        encoding, length = encoding_of(self._head) or (self._encoding, 0)
        return codecs.getincrementaldecoder(encoding)(errors="replace"), self._head[length:]


class Utf8Stream:
    """Makes one encoding of UTF-8 and UTF-16 with a byte order mark: bytes that extend ASCII, without the mark.

    Bytes that are not UTF-8 pass through: names of files come in every encoding, and nobody reads them here.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._decoder: TextDecoder | None = None

    def convert(self, data: bytes) -> bytes:
        """The next bytes. Raises `DeliveryError` if the delivery begins like something that is no text."""
        if self._head is not None:
            self._head += data
            if len(self._head) < _HEAD_SIZE:
                return b""
            return self._start()
        return data if self._decoder is None else self._decoder.decode(data).encode()

    def rest(self) -> bytes:
        """The bytes that were held back for the sake of the beginning. Comes before `check_whole`."""
        return b"" if self._head is None else self._start()

    def check_whole(self) -> None:
        """Raise `DeliveryError` if the last character is not whole."""
        if self._decoder is not None:
            self._decoder.check_whole()

    def _start(self) -> bytes:
        head = self._head or b""
        self._head = None
        encoding, length = encoding_of(head) or ("utf-8", 0)
        if encoding != "utf-8":
            self._decoder = TextDecoder(encoding)
            return self._decoder.decode(head).encode()
        if not _is_text(head[:_HEAD_SIZE]):
            raise DeliveryError("this is not text")
        return head[length:]


def _is_text(head: bytes) -> bool:
    if _NOT_IN_TEXT.isdisjoint(head):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
