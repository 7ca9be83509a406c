"""People who can sign: an identity, a key, and the enrolment that says so."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.model.approvals import ApprovalTerms, ApproverKey
from hashmatch.trust.signing import ApproverSigner, sign_approval, sign_enrolment


class Signatory:
    """Somebody with a key of their own."""

    def __init__(
        self,
        name: str,
        *,
        identity: str = "",
        not_before: float | None = None,
        not_after: float | None = None,
        private_key: Ed25519PrivateKey | None = None,
    ) -> None:
        self.name = name
        self.identity = identity or f"spiffe://test/{name}"
        self.private_key = private_key or Ed25519PrivateKey.generate()
        self.signer = ApproverSigner(name, self.private_key)
        self.key = ApproverKey(
            name=name,
            identity=self.identity,
            public_key=self.signer.public_key,
            not_before=not_before,
            not_after=not_after,
        )

    @property
    def enrolment(self) -> bytes:
        return sign_enrolment(self.key, self.signer)

    def sign(self, terms: ApprovalTerms, now: float = 0.0) -> bytes:
        """The envelope for these terms, whatever they are."""
        return sign_approval(terms, self.signer, now)
