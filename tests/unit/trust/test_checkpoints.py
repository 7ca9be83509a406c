"""Notes and checkpoints: what others sign in the same form verifies, and nothing that was changed does."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.trust.checkpoints import (
    Checkpoint,
    NoteError,
    NoteSigner,
    NoteVerifier,
    open_checkpoint,
    open_note,
)

# The example in the documentation of golang.org/x/mod/sumdb/note, where the form comes from.
_THEIR_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
_THEIR_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
_THEIR_NOTE = (
    f"{_THEIR_TEXT}\n\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
_ORIGIN = "hashmatch.example/server-1/acts"


@pytest.fixture
def signer() -> NoteSigner:
    return NoteSigner(_ORIGIN, Ed25519PrivateKey.generate())


@pytest.fixture
def note(signer: NoteSigner) -> str:
    return signer.sign(Checkpoint(_ORIGIN, 41, bytes(range(32))).text)


def test_a_note_that_go_signed_verifies():
    assert open_note(_THEIR_NOTE, [NoteVerifier.parse(_THEIR_KEY)]) == _THEIR_TEXT
    assert str(NoteVerifier.parse(_THEIR_KEY)) == _THEIR_KEY


def test_a_checkpoint_says_what_was_signed(signer: NoteSigner, note: str):
    assert open_checkpoint(note, [signer.verifier]) == Checkpoint(_ORIGIN, 41, bytes(range(32)))
    assert note.startswith(f"{_ORIGIN}\n41\nAAECAwQF")


def test_no_byte_of_a_note_can_be_changed(signer: NoteSigner, note: str):
    encoded = note.encode()
    for at in range(len(encoded)):
        for bit in (0, 5):
            changed = encoded[:at] + bytes([encoded[at] ^ 1 << bit]) + encoded[at + 1 :]
            with pytest.raises(NoteError):
                open_checkpoint(changed.decode("utf-8", "replace"), [signer.verifier])


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda note: note[:-1], id="cut"),
        pytest.param(lambda note: note + "\n", id="longer"),
        pytest.param(lambda note: note.replace("\n41\n", "\n041\n"), id="size"),
        pytest.param(lambda note: note.replace("\n\n", "\n", 1), id="no blank line"),
        pytest.param(lambda note: note.split("\n\n")[0] + "\n\n", id="no signature"),
        pytest.param(lambda note: "x" * (1 << 17) + note, id="very long"),
        pytest.param(lambda note: "\t" + note, id="control character"),
    ],
)
def test_what_is_no_note_is_refused(signer: NoteSigner, note: str, changed):
    with pytest.raises(NoteError):
        open_checkpoint(changed(note), [signer.verifier])


def test_signatures_of_others_are_passed_over_but_one_has_to_be_known(signer: NoteSigner, note: str):
    witness = NoteSigner("witness.example", Ed25519PrivateKey.generate())
    cosigned = note + witness.sign(note.split("\n\n")[0] + "\n").split("\n\n")[1]
    assert open_checkpoint(cosigned, [signer.verifier]).size == 41
    with pytest.raises(NoteError, match="none of the keys"):
        open_checkpoint(note, [witness.verifier])
    with pytest.raises(NoteError, match="none of the keys"):
        open_checkpoint(note, [])


def test_a_known_key_whose_signature_is_wrong_spoils_the_note(signer: NoteSigner, note: str):
    other = signer.sign("something else\n").split("\n\n")[1]
    with pytest.raises(NoteError, match="does not verify"):
        open_note(note + other, [signer.verifier])


def test_no_log_speaks_for_another(note: str):
    key = Ed25519PrivateKey.generate()
    other = NoteSigner("hashmatch.example/server-2/acts", key)
    with pytest.raises(NoteError):
        open_checkpoint(other.sign(Checkpoint(_ORIGIN, 41, bytes(32)).text), [other.verifier])


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+AAAA", _THEIR_KEY.replace("c7", "c8"), _THEIR_KEY.replace("Peter", "Paul")]
)
def test_a_key_whose_name_id_and_value_do_not_fit_is_refused(text: str):
    with pytest.raises(NoteError):
        NoteVerifier.parse(text)


@pytest.mark.parametrize("name", ["", "two words", "plus+", "new\nline"])
def test_a_name_that_a_note_has_no_place_for_is_refused(name: str):
    with pytest.raises(NoteError):
        NoteSigner(name, Ed25519PrivateKey.generate())


def test_a_signer_does_not_show_its_key(signer: NoteSigner):
    assert repr(signer) == f"NoteSigner({_ORIGIN})"
