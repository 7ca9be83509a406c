"""Signed notes and checkpoints, as C2SP specifies them: what a log had come to, so that anybody can hold it to that.

A checkpoint states the origin (which log), the size (how many records) and the root of the Merkle tree over them. Who
keeps one notices when the log is changed, cut or begun anew, whoever did it. https://c2sp.org/signed-note and
https://c2sp.org/tlog-checkpoint describe the forms. Ed25519 is the only kind of signature that is made or looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hashmatch.trust.merkle import HASH_SIZE

MAXIMUM_NOTE = 1 << 16
_MAXIMUM_SIGNATURES = 64
_ED25519 = b"\x01"
_ID_SIZE = 4
_KEY_SIZE = 32
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = "\u2014 "


class NoteError(Exception):
    """A note, a checkpoint or a key of them that cannot be read, or that does not verify."""


class NoteVerifier:
    """A key that is known: its name, and the public key. Written as NAME+ID+KEY, in one line."""

    def __init__(self, name: str, public_key: Ed25519PublicKey) -> None:
        """Raises `NoteError` for a name that a note has no place for."""
        if not is_name(name):
            raise NoteError("the name of a key is not empty and has neither spaces nor +")
        self.name = name
        self._public_key = public_key
        encoded = _ED25519 + public_key.public_bytes_raw()
        self.key_id = hashlib.sha256(name.encode() + b"\n" + encoded).digest()[:_ID_SIZE]
        self._text = f"{name}+{self.key_id.hex()}+{base64.b64encode(encoded).decode()}"

    @classmethod
    def parse(cls, text: str) -> NoteVerifier:
        """The key of a line. Raises `NoteError`."""
        name, plus, rest = text.strip().partition("+")
        key_id, _, key = rest.partition("+")
        encoded = _decoded(key)
        if not plus or len(encoded) != _KEY_SIZE + 1 or encoded[:1] != _ED25519:
            raise NoteError("a key is written NAME+ID+KEY, and is one for Ed25519")
        try:
            found = cls(name, Ed25519PublicKey.from_public_bytes(encoded[1:]))
        except ValueError as error:
            raise NoteError("that is no key") from error
        if found.key_id.hex() != key_id:
            raise NoteError("the id of the key is not that of the key")
        return found

    def __str__(self) -> str:
        return self._text

    def of_origin(self, origin: str) -> NoteVerifier:
        """The same key under the name of a log of whoever has it, which begins with the name and a slash."""
        return NoteVerifier(origin, self._public_key) if origin.startswith(f"{self.name}/") else self

    def is_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed exactly these bytes."""
        try:
            self._public_key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class NoteSigner:
    """Signs notes under one name. Its `repr` shows no more than that."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Raises `NoteError` for a name that a note has no place for."""
        self.verifier = NoteVerifier(name, key.public_key())
        self._key = key

    def __repr__(self) -> str:
        return f"NoteSigner({self.verifier.name})"

    def of_origin(self, origin: str) -> NoteSigner:
        """The same key for a log of its own; see `NoteVerifier.of_origin`."""
        return NoteSigner(origin, self._key)

    def sign_bytes(self, message: bytes) -> bytes:
        """The signature of something that is no note. Its first byte must be one that no note can begin with."""
        return self._key.sign(message)

    def sign(self, text: str) -> str:
        """The note with this text, which ends with a newline."""
        signature = self.verifier.key_id + self._key.sign(text.encode())
        return f"{text}\n{_SIGNATURE}{self.verifier.name} {base64.b64encode(signature).decode()}\n"


class Checkpoint(NamedTuple):
    """What a log had come to."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def is_name(name: str) -> bool:
    """Whether a key, or a log, can have this name."""
    return bool(name) and name.isprintable() and not any(each.isspace() or each == "+" for each in name)


def open_note(note: str, keys: Iterable[NoteVerifier]) -> str:
    """The text of a note that one of `keys` signed. Raises `NoteError`.

    Signatures of others are passed over. One that names a key and is not of it spoils the note.
    """
    if len(note) > MAXIMUM_NOTE or any(ord(each) < 0x20 and each != "\n" for each in note):
        raise NoteError("this is no signed note")
    text, blank, signatures = note.rpartition("\n\n")
    lines = signatures.split("\n")
    if not blank or lines.pop() != "" or not 1 <= len(lines) <= _MAXIMUM_SIGNATURES:
        raise NoteError("this is no signed note")
    text += "\n"
    known = {(key.name, key.key_id): key for key in keys}
    verified = False
    for line in lines:
        name, space, encoded = line.removeprefix(_SIGNATURE).partition(" ")
        signature = _decoded(encoded)
        if not line.startswith(_SIGNATURE) or not space or not is_name(name) or len(signature) <= _ID_SIZE:
            raise NoteError("this is no signed note")
        key = known.get((name, signature[:_ID_SIZE]))
        if key is None:
            continue
        if not key.is_signed(text.encode(), signature[_ID_SIZE:]):
            raise NoteError(f"the signature of {name} does not verify")
        verified = True
    if not verified:
        raise NoteError("none of the keys that are trusted signed this")
    return text


def open_checkpoint(note: str, keys: Iterable[NoteVerifier]) -> Checkpoint:
    """The checkpoint in a note that the log itself signed with one of `keys`. Raises `NoteError`.

    The name of the key is the origin of the log, or what the origin begins with up to a slash, so that no log can speak
    for another.
    """
    origin = note.partition("\n")[0]
    known = [key.of_origin(origin) for key in keys] if is_name(origin) else []
    text = open_note(note, [key for key in known if key.name == origin])
    _, size, root, *_ = *text.split("\n"), "", ""
    digest = _decoded(root)
    if not _SIZE.fullmatch(size) or len(digest) != HASH_SIZE:
        raise NoteError("the note holds no checkpoint")
    return Checkpoint(origin, int(size), digest)


def _decoded(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""
    # One way to write each value, so that no bit can be changed without anybody noticing.
    return found if base64.b64encode(found).decode() == text else b""
