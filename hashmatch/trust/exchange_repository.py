"""Publishes lists to other instances: a repository of The Update Framework (TUF) in a directory.

Root and targets have keys of several people and a threshold; each body has a role of its own, with its own keys, to
which the targets role delegates everything below the body's name. One key that is online signs snapshot and timestamp,
and can therefore keep the repository fresh, but change nothing that the others signed.

A change is staged first and has no effect; people add their signatures, each where their key is; `release` verifies
that every threshold is met and puts the change into place, the timestamp last.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from hashmatch.trust.durable_files import write_durably

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
# How long what people sign is good for, in days; what the online key signs, as long as `release` says.
LIFETIMES = {ROOT: 365, TARGETS: 180}
BODY_LIFETIME = 90

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# Bundles are whole lists: for whoever serves them, and not for everybody on the machine.
_READABLE = 0o640


class PublishingError(Exception):
    """A change to a repository that cannot be made or released; the text is for people."""


class RoleState(NamedTuple):
    """How a role stands. `version` 0 means not yet released; `staged` is the staged version, 0 for none."""

    role: str
    version: int
    expires: datetime.datetime | None
    staged: int
    signatures: int
    threshold: int
    key_ids: tuple[str, ...]


class ExchangeRepository:
    """A repository in a directory; for one person at a time. Methods raise `PublishingError` and `OSError`."""

    def __init__(self, directory: Path, now: datetime.datetime) -> None:
        """Nothing is read yet. `now` is in UTC."""
        self._metadata = directory / "metadata"
        self._targets = directory / "targets"
        self._staged = directory / "staged"
        self._now = now.replace(microsecond=0)

    # ---- changes, which are staged

    def create(
        self,
        root_keys: Sequence[Ed25519PublicKey],
        root_threshold: int,
        targets_keys: Sequence[Ed25519PublicKey],
        targets_threshold: int,
        online_key: Ed25519PublicKey,
    ) -> None:
        """Begin a repository in a directory that has none."""
        if self._metadata.exists() or self._staged.exists():
            raise PublishingError("there is a repository already")
        root = Root(expires=self._until(LIFETIMES[ROOT]), consistent_snapshot=True)
        for role, keys, threshold in (
            (ROOT, root_keys, root_threshold),
            (TARGETS, targets_keys, targets_threshold),
            (SNAPSHOT, [online_key], 1),
            (TIMESTAMP, [online_key], 1),
        ):
            _check_threshold(role, keys, threshold)
            for key in keys:
                root.add_key(SSlibKey.from_crypto(key), role)
            root.roles[role].threshold = threshold
        for directory in (self._metadata, self._targets, self._staged):
            directory.mkdir(parents=True)
        self._stage(ROOT, Metadata(root))
        self._stage(TARGETS, Metadata(Targets(expires=self._until(LIFETIMES[TARGETS]))))

    def delegate(self, body: str, keys: Sequence[Ed25519PublicKey], threshold: int) -> None:
        """Let keys publish everything below a body's name; they take the place of those that did so before."""
        if not _NAME.fullmatch(body) or body in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
            raise PublishingError("a body's name has 1 to 63 characters of a-z 0-9 . _ - and is no role of its own")
        _check_threshold(body, keys, threshold)
        targets = self._editable(TARGETS)
        known = targets.signed.delegations or Delegations({}, {})
        roles = dict(known.roles or {})
        made = [SSlibKey.from_crypto(key) for key in keys]
        roles[body] = DelegatedRole(body, [key.keyid for key in made], threshold, True, paths=[f"{body}/*"])
        all_keys = {**known.keys, **{key.keyid: key for key in made}}
        used = {key_id for role in roles.values() for key_id in role.keyids}
        targets.signed.delegations = Delegations(
            {key_id: key for key_id, key in all_keys.items() if key_id in used}, roles
        )
        self._stage(TARGETS, targets)
        # Whoever signs for the body from now on signs what it has.
        self._stage(body, self._editable(body))

    def publish(self, body: str, list_id: str, bundle: bytes) -> str:
        """Put a list's bundle among what a body publishes; returns the path by which others ask for it."""
        if self._delegation(body) is None:
            raise PublishingError(f"nothing is delegated to {body}")
        if not _NAME.fullmatch(list_id):
            raise PublishingError("not the id of a list")
        path = f"{body}/{list_id}.bundle"
        edited = self._editable(body)
        target = TargetFile.from_data(path, bundle, ["sha256"])
        edited.signed.targets[path] = target
        place = self._targets / body
        place.mkdir(parents=True, exist_ok=True)
        write_durably(place / f"{target.hashes['sha256']}.{list_id}.bundle", bundle, mode=_READABLE)
        self._stage(body, edited)
        return path

    def withdraw(self, body: str, list_id: str) -> None:
        """Take a list out of what a body publishes."""
        edited = self._editable(body)
        if edited.signed.targets.pop(f"{body}/{list_id}.bundle", None) is None:
            raise PublishingError(f"{body} does not publish {list_id}")
        self._stage(body, edited)

    def rotate(self, role: str, add: Sequence[Ed25519PublicKey], remove: Sequence[str], threshold: int | None) -> None:
        """Change the keys of root, targets or the online roles (`snapshot` stands for both), by their ids."""
        if role not in (ROOT, TARGETS, SNAPSHOT):
            raise PublishingError("only the keys of root, targets and snapshot rotate so; a body's are delegated anew")
        root = self._editable(ROOT)
        for each in (SNAPSHOT, TIMESTAMP) if role == SNAPSHOT else (role,):
            for key in add:
                root.signed.add_key(SSlibKey.from_crypto(key), each)
            for key_id in remove:
                try:
                    root.signed.revoke_key(key_id, each)
                except ValueError:
                    raise PublishingError(f"{key_id} is no key of {each}") from None
            if threshold is not None:
                root.signed.roles[each].threshold = threshold
            _check_threshold(each, root.signed.roles[each].keyids, root.signed.roles[each].threshold)
        self._stage(ROOT, root)
        if role == TARGETS:
            # Signed by keys that no longer count.
            self._stage(TARGETS, self._editable(TARGETS))

    def sign(self, private_key: Ed25519PrivateKey) -> list[str]:
        """Add a person's signature to everything staged that waits for it; returns those roles."""
        signer = CryptoSigner(private_key)
        signed = []
        for role in self._staged_roles():
            if signer.public_key.keyid in self._signers_of(role):
                metadata = self._read(self._staged / f"{role}.json")
                metadata.sign(signer, append=True)
                self._stage(role, metadata)
                signed.append(role)
        return signed

    # ---- what takes effect

    def release(self, online_key: Ed25519PrivateKey, days: int) -> dict[str, int]:
        """Put into place what is staged, and vouch for everything for `days`; returns the versions.

        With nothing staged it keeps the repository fresh. Nothing is released unless every threshold is met.
        """
        root = self._released(ROOT)
        staged = {role: self._read(self._staged / f"{role}.json") for role in self._staged_roles()}
        new_root = staged.get(ROOT, root)
        if new_root is None:
            raise PublishingError("there is no root yet")
        self._verify(staged, root, new_root)
        signer = CryptoSigner(online_key)
        if signer.public_key.keyid not in new_root.signed.roles[TIMESTAMP].keyids:
            raise PublishingError("this is not the online key of the repository")
        for role, metadata in staged.items():
            name = f"{metadata.signed.version}.{role}.json"
            write_durably(self._metadata / name, metadata.to_bytes(JSONSerializer()), mode=_READABLE)
        versions = self._vouch(signer, days, {TARGETS, *self._bodies()})
        for role in staged:
            (self._staged / f"{role}.json").unlink()
        return {ROOT: new_root.signed.version, **versions}

    def states(self) -> Iterator[RoleState]:
        """How every role stands: root and targets, the bodies, the online roles."""
        for role in (ROOT, TARGETS, *self._bodies(), SNAPSHOT, TIMESTAMP):
            released = self._released(role)
            staged_file = self._staged / f"{role}.json"
            staged = self._read(staged_file) if staged_file.exists() else None
            keys, threshold = self._keys_of(role)
            last = staged or released
            yield RoleState(
                role,
                0 if released is None else released.signed.version,
                None if released is None else released.signed.expires,
                0 if staged is None else staged.signed.version,
                0 if last is None else len(keys & last.signatures.keys()),
                threshold,
                tuple(sorted(keys)),
            )

    def _verify(self, staged: dict[str, Metadata[Any]], root: Metadata[Any] | None, new_root: Metadata[Any]) -> None:
        targets = staged.get(TARGETS) or self._released(TARGETS)
        if targets is None:
            raise PublishingError("there are no targets yet")
        for role, metadata in staged.items():
            delegators = [new_root] if role in (ROOT, TARGETS) else [targets]
            if role == ROOT and root is not None:
                # Those who were trusted before say who is trusted from now on.
                delegators.append(root)
            for delegator in delegators:
                try:
                    delegator.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
                except UnsignedMetadataError as error:
                    raise PublishingError(f"{role} lacks signatures: {error}") from error
                except (RepositoryError, ValueError) as error:
                    raise PublishingError(f"{role} cannot be released: {error}") from error

    def _vouch(self, signer: CryptoSigner, days: int, roles: set[str]) -> dict[str, int]:
        """Write a new snapshot and then, last of all, a new timestamp."""
        meta, versions = {}, {}
        for role in sorted(roles):
            released = self._released(role)
            if released is None:
                raise PublishingError(f"{role} was never signed")
            content = self._path_of(role, released.signed.version).read_bytes()
            meta[f"{role}.json"] = MetaFile.from_data(released.signed.version, content, ["sha256"])
            versions[role] = released.signed.version
        before = self._released(SNAPSHOT)
        snapshot = Snapshot(
            version=1 if before is None else before.signed.version + 1, expires=self._until(days), meta=meta
        )
        encoded = _signed(snapshot, signer)
        write_durably(self._path_of(SNAPSHOT, snapshot.version), encoded, mode=_READABLE)
        stamped = self._released(TIMESTAMP)
        timestamp = Timestamp(
            version=1 if stamped is None else stamped.signed.version + 1,
            expires=self._until(days),
            snapshot_meta=MetaFile.from_data(snapshot.version, encoded, ["sha256"]),
        )
        write_durably(self._metadata / f"{TIMESTAMP}.json", _signed(timestamp, signer), mode=_READABLE)
        return {**versions, SNAPSHOT: snapshot.version, TIMESTAMP: timestamp.version}

    # ---- where things lie

    def _editable(self, role: str) -> Metadata[Any]:
        """The next version of a role, unsigned: that which is staged, or one after that which is released."""
        staged = self._staged / f"{role}.json"
        if staged.exists():
            metadata = self._read(staged)
        else:
            released = self._released(role)
            metadata = Metadata(Targets(expires=self._until(BODY_LIFETIME))) if released is None else released
            if released is not None:
                metadata.signed.version += 1
        metadata.signatures.clear()
        metadata.signed.expires = self._until(LIFETIMES.get(role, BODY_LIFETIME))
        return metadata

    def _stage(self, role: str, metadata: Metadata[Any]) -> None:
        self._staged.mkdir(parents=True, exist_ok=True)
        write_durably(self._staged / f"{role}.json", metadata.to_bytes(JSONSerializer()), mode=_READABLE)

    def _staged_roles(self) -> list[str]:
        found = {path.name.removesuffix(".json") for path in self._staged.glob("*.json")}
        # In the order in which one says who may sign the next.
        return [*(role for role in (ROOT, TARGETS) if role in found), *sorted(found - {ROOT, TARGETS})]

    def _released(self, role: str) -> Metadata[Any] | None:
        if role == TIMESTAMP:
            path = self._metadata / f"{TIMESTAMP}.json"
            return self._read(path) if path.exists() else None
        suffix = f".{role}.json"
        versions = [
            int(path.name.removesuffix(suffix))
            for path in self._metadata.glob(f"*{suffix}")
            if path.name.removesuffix(suffix).isdigit()
        ]
        return self._read(self._path_of(role, max(versions))) if versions else None

    def _path_of(self, role: str, version: int) -> Path:
        return self._metadata / f"{version}.{role}.json"

    def _read(self, path: Path) -> Metadata[Any]:
        try:
            return Metadata.from_bytes(path.read_bytes())
        except (RepositoryError, ValueError) as error:
            raise PublishingError(f"{path} cannot be read") from error

    def _delegation(self, body: str) -> DelegatedRole | None:
        staged = self._staged / f"{TARGETS}.json"
        targets = self._read(staged) if staged.exists() else self._released(TARGETS)
        delegations = None if targets is None else targets.signed.delegations
        roles: dict[str, DelegatedRole] = {} if delegations is None else delegations.roles or {}
        return roles.get(body)

    def _bodies(self) -> list[str]:
        staged = self._staged / f"{TARGETS}.json"
        targets = self._read(staged) if staged.exists() else self._released(TARGETS)
        delegations = None if targets is None else targets.signed.delegations
        return [] if delegations is None else sorted(delegations.roles or {})

    def _keys_of(self, role: str) -> tuple[set[str], int]:
        """The ids of the keys that count for a role, and how many of them are needed."""
        if role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
            staged = self._staged / f"{ROOT}.json"
            root = self._read(staged) if staged.exists() else self._released(ROOT)
            found = None if root is None else root.signed.roles[role]
        else:
            found = self._delegation(role)
        return (set(), 0) if found is None else (set(found.keyids), found.threshold)

    def _signers_of(self, role: str) -> set[str]:
        """The ids of the keys whose signatures a staged role waits for."""
        keys, _ = self._keys_of(role)
        if role == ROOT:
            released = self._released(ROOT)
            keys |= set() if released is None else set(released.signed.roles[ROOT].keyids)
        return keys

    def _until(self, days: int) -> datetime.datetime:
        return self._now + datetime.timedelta(days=days)


def public_key_id(key: Ed25519PublicKey) -> str:
    """The id by which a repository knows a key."""
    return SSlibKey.from_crypto(key).keyid


def _signed(content: Snapshot | Timestamp, signer: CryptoSigner) -> bytes:
    metadata: Metadata[Any] = Metadata(content)
    metadata.sign(signer)
    return metadata.to_bytes(JSONSerializer())


def _check_threshold(role: str, keys: Sequence[object], threshold: int) -> None:
    if not 1 <= threshold <= len(keys):
        raise PublishingError(f"{role} has {len(keys)} keys, so that its threshold is 1 to {len(keys)}")
