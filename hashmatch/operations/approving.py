"""What approvers do on their own machines: make a key, say whose it is, and sign what they agree to.

It needs neither a server nor its configuration, and no more of it than `pip install 'hashmatch[approver]'` brings.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.model.approvals import ApprovalTerms, ApproverKey
from hashmatch.trust.key_files import KeyFileError, read_passphrase, read_private_key, write_private_key
from hashmatch.trust.signing import (
    ApproverSigner,
    EnvelopeError,
    SignatureError,
    read_enrolment,
    sign_approval,
    sign_enrolment,
)

__all__ = [
    "ApprovalTerms",
    "EnvelopeError",
    "KeyFileError",
    "NewApprover",
    "Signatory",
    "SignatureError",
    "make_approver",
    "read_enrolment",
]


class NewApprover(NamedTuple):
    """What was written for a new approver: the key, which stays, and the enrolment, which is handed in."""

    key_file: Path
    enrolment_file: Path
    public_key: bytes


class Signatory:
    """Holds an approver's private key, to sign with."""

    def __init__(self, key_file: Path, passphrase_file: Path | None) -> None:
        """Raises `KeyFileError`."""
        self._private_key = read_private_key(key_file, read_passphrase(passphrase_file))
        self.public_key = self._private_key.public_key().public_bytes_raw()

    def sign(self, terms: ApprovalTerms, name: str, now: float) -> bytes:
        """The envelope of the approver who is enrolled under `name` with this key."""
        return sign_approval(terms, ApproverSigner(name, self._private_key), now)


def make_approver(
    directory: Path,
    name: str,
    identity: str,
    *,
    not_before: float | None,
    not_after: float | None,
    passphrase_file: Path | None,
) -> NewApprover:
    """Make a key and its enrolment in `directory`. Raises `KeyFileError` and `EnvelopeError`."""
    private_key = Ed25519PrivateKey.generate()
    signer = ApproverSigner(name, private_key)
    stated = ApproverKey(
        name=name, identity=identity, public_key=signer.public_key, not_before=not_before, not_after=not_after
    )
    # First what can be refused, so that no key is left lying about.
    enrolment = sign_enrolment(stated, signer)
    key_file, enrolment_file = directory / f"{name}.key", directory / f"{name}.approver.json"
    write_private_key(key_file, private_key, read_passphrase(passphrase_file))
    try:
        with os.fdopen(os.open(enrolment_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(enrolment + b"\n")
    except OSError as error:
        key_file.unlink()
        raise KeyFileError(f"cannot make {enrolment_file}: {error.strerror}") from error
    return NewApprover(key_file, enrolment_file, signer.public_key)
