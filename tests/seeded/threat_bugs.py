"""Guards of SECURITY.md's table, taken out: those that no other module here takes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hashmatch.formats.containers import ExpansionLimits
from hashmatch.ingest import acts, policies, resealing
from hashmatch.model.access import Client
from hashmatch.model.errors import HashmatchError
from hashmatch.operations import audit as audit_operations
from hashmatch.service import certificate_rotation, identity, logs, permissions, secrets, store_rights
from hashmatch.service.admission import Admission
from hashmatch.service.budgets import Budgets
from hashmatch.store.blocks import pack
from hashmatch.store.connection import Connection
from hashmatch.store.manifest import Manifest, ManifestSpoiltError, ManifestStore
from hashmatch.store.segments import SegmentStore, StoreDamagedError
from hashmatch.trust import audit, process_memory, sealing
from hashmatch.trust.counting import DistinctSketch, NearDuplicates
from hashmatch.trust.sealing import Sealer, SealingKeyError


def ask_for_no_certificate(patch: pytest.MonkeyPatch) -> None:
    """A handshake does without the client's certificate."""
    proper = grpc.dynamic_ssl_server_credentials
    patch.setattr(
        grpc,
        "dynamic_ssl_server_credentials",
        lambda *given, **_: proper(*given, require_client_authentication=False),
    )


def take_the_first_uri(patch: pytest.MonkeyPatch) -> None:
    """Of several names the first counts."""
    proper = x509.SubjectAlternativeName.get_values_for_type
    patch.setattr(x509.SubjectAlternativeName, "get_values_for_type", lambda self, kind: proper(self, kind)[:1])


def let_the_last_write_win(patch: pytest.MonkeyPatch) -> None:
    """What waits is written whatever has become of it since it was read."""

    def put(connection: Connection, key: bytes, field: str, _expected: bytes, value: bytes) -> bool:
        connection.hash_set(key, field, value)
        return True

    patch.setattr(Connection, "hash_compare_and_set", put)


def discard_and_leave_it_at_that(patch: pytest.MonkeyPatch) -> None:
    """Whoever has looked at what waits, and is about to have it take effect, is not held up."""
    patch.setattr(acts.Acts, "overtake", lambda _self: None)


def forget_when_certificates_end(patch: pytest.MonkeyPatch) -> None:
    """The handshake has looked, and nobody looks again."""
    proper = identity.caller_in_certificate
    patch.setattr(identity, "caller_in_certificate", lambda pem: replace(proper(pem), expires_at=float("inf")))


def take_any_certificate_files(patch: pytest.MonkeyPatch) -> None:
    """New files are read, and not looked at."""

    def unchecked(_files: object, read: tuple[bytes, bytes, bytes], _now: float) -> certificate_rotation.Loaded:
        return certificate_rotation.Loaded(*read, 0.0)

    patch.setattr(certificate_rotation, "checked", unchecked)


def believe_any_purpose(patch: pytest.MonkeyPatch) -> None:
    """What is said to be a purpose is written down as one."""
    patch.setattr(permissions, "is_purpose", lambda _text: True)


def forget_when_permissions_end(patch: pytest.MonkeyPatch) -> None:
    """Whoever might ask once may ask."""
    patch.setattr(Client, "is_valid", lambda _self, _now: True)


def take_older_policies(patch: pytest.MonkeyPatch) -> None:
    """The number of a version says nothing."""
    proper, numbers = policies.parse_policy, itertools.count(1_000)

    def parse(document: str) -> Any:
        policy = proper(document)
        object.__setattr__(policy, "version", next(numbers))
        return policy

    patch.setattr(policies, "parse_policy", parse)


def spend_nothing_on_questions(patch: pytest.MonkeyPatch) -> None:
    """What is asked costs nothing."""

    async def admit(*_: object, **__: object) -> None:
        return None

    patch.setattr(Budgets, "admit", admit)


def count_no_distinct_hashes(patch: pytest.MonkeyPatch) -> None:
    """The sketch stays empty."""
    patch.setattr(DistinctSketch, "add", lambda *_: None)


def see_no_neighbours(patch: pytest.MonkeyPatch) -> None:
    """Codes are not compared with one another."""
    patch.setattr(NearDuplicates, "add", lambda *_: 0)


def answer_what_is_not_left(patch: pytest.MonkeyPatch) -> None:
    """A spent budget is noted, and not refused."""
    proper = Budgets.spend_hits

    def spend(self: Budgets, client: Client | None, hits: int) -> None:
        try:
            proper(self, client, hits)
        except HashmatchError:
            return

    patch.setattr(Budgets, "spend_hits", spend)


def keep_a_plain_copy_in_the_store(patch: pytest.MonkeyPatch) -> None:
    """Beside what is sealed lies what it holds."""
    proper = SegmentStore._sealed

    def sealed(self: SegmentStore, seal: Any, rows: Any, info: Any) -> Iterator[dict[bytes, bytes]]:
        yield from proper(self, seal, rows, info)
        plain = b"".join(part for _, parts in pack(rows, info.blocks) for part in parts)
        yield {self.keys.sets(info.segment_id) + b":plain": plain}

    patch.setattr(SegmentStore, "_sealed", sealed)


def look_at_no_rights(patch: pytest.MonkeyPatch) -> None:
    """Whatever the user of the store may do is right."""
    patch.setattr(store_rights, "excessive_rights", lambda *_, **__: [])


def give_the_reader_everything(patch: pytest.MonkeyPatch) -> None:
    """The shipped reader has the rights of an operator."""
    proper = Path.read_text

    def read_text(self: Path, *options: Any, **named: Any) -> str:
        text = proper(self, *options, **named)
        if self.name != "users.acl":
            return text
        return "\n".join(
            f"{line} ~* &* +@all" if line.startswith("user reader ") else line for line in text.split("\n")
        )

    patch.setattr(Path, "read_text", read_text)


def leave_segments_under_old_keys(patch: pytest.MonkeyPatch) -> None:
    """What seals from now on is new, and what lies there stays."""
    patch.setattr(resealing, "_under", lambda *_: [])


def take_what_is_under_another_key_for_spoilt(patch: pytest.MonkeyPatch) -> None:
    """What this server cannot open nobody sealed."""
    proper = ManifestStore.open

    def open_manifest(self: ManifestStore, raw: bytes) -> Manifest:
        try:
            return proper(self, raw)
        except StoreDamagedError as error:
            raise ManifestSpoiltError(str(error), raw) from error

    patch.setattr(ManifestStore, "open", open_manifest)


def believe_what_the_store_says(patch: pytest.MonkeyPatch) -> None:
    """What does not verify is opened all the same: CTR mode, which is GCM without its tag."""

    def open_unverified(self: Sealer, nonce: bytes, sealed: bytes, _context: bytes) -> tuple[bytes, str]:
        counter = nonce + (2).to_bytes(4, "big")
        cipher = Cipher(algorithms.AES(self._key), modes.CTR(counter)).decryptor()
        return cipher.update(sealed[: -sealing.TAG_SIZE]) + cipher.finalize(), self.key_id

    patch.setattr(Sealer, "_opened", open_unverified)


def let_everybody_in_at_once(patch: pytest.MonkeyPatch) -> None:
    """There is a place for everybody."""
    proper = Admission.enter

    def enter(self: Admission, caller: str) -> None:
        self._places = self._places_per_caller = 1 << 30
        proper(self, caller)

    patch.setattr(Admission, "enter", enter)


def chain_nothing(patch: pytest.MonkeyPatch) -> None:
    """No record of the audit log says what the one before it was."""
    for module in (audit, audit_operations):
        patch.setattr(module, "digest_of", lambda _line: "0" * 64)
    patch.setattr(audit, "_GENESIS", "0" * 64)


def expand_without_limits(patch: pytest.MonkeyPatch) -> None:
    """A container may hold whatever it holds."""
    for limit in ("size", "ratio", "floor"):
        patch.setattr(ExpansionLimits, limit, 1 << 60)


def write_hashes_down(patch: pytest.MonkeyPatch) -> None:
    """The log takes what it is given."""
    patch.setattr(logs, "redact", lambda _logger, _method, event: event)


def quote_what_is_wrong(patch: pytest.MonkeyPatch) -> None:
    """Whoever looks for a mistake in a file is shown the file."""
    proper = sealing.read_secret

    def read_secret(path: Path) -> bytes:
        try:
            return proper(path)
        except SealingKeyError as error:
            raise SealingKeyError(f"{error}: {path.read_text('utf-8')}") from error

    for module in (sealing, secrets):
        patch.setattr(module, "read_secret", read_secret)


def allow_dumps(patch: pytest.MonkeyPatch) -> None:
    """Processes are as the system makes them."""
    patch.setattr(process_memory, "keep_out_of_dumps", lambda: None)
