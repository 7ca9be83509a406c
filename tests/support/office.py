"""Stands for the people around a store: who defines lists, delivers to them, approves and publishes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hashmatch.index.loader import SnapshotLoader
from hashmatch.index.snapshot import Snapshot
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import DeliveryHeader, Stager
from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.findings import ItemAnswer
from hashmatch.matching.items import AskedHash, ItemsQuestion
from hashmatch.matching.scope import EVERYTHING, Scope, view
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.verdicts import Cause
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.manifest import Generation, Manifest
from hashmatch.store.sources import BlockCache
from hashmatch.store.stagings import Staging
from hashmatch.store.store import Store
from hashmatch.store.supply import Supply

IMPORTER = "spiffe://test/importer"
APPROVERS = ("spiffe://test/ann", "spiffe://test/bob")
ACTOR = "spiffe://test/operator"
# A table with everything that a record can say. Tabs, so that no text needs quoting.
PROFILE = """
layout = "tsv"
header = false
short_rows = "blank"
key = [1]
label = [3]
deleted = { column = 2 }
[[hash]]
column = 4
algorithm = "md5"
[[hash]]
column = 5
algorithm = "sha256"
"""
UNKEYED_PROFILE = PROFILE.replace("key = [1]\n", "")


def row(*, key: str = "", label: str = "", md5: bytes = b"", sha256: bytes = b"", removed: bool = False) -> str:
    """One record of `PROFILE`."""
    return "\t".join((key, "yes" if removed else "no", label, md5.hex(), sha256.hex())) + "\n"


class Office:
    """Does by the book what a test is not about."""

    def __init__(self, store: Store, clock: Clock, publisher: Publisher, stager: Stager) -> None:
        self.store = store
        self.clock = clock
        self.publisher = publisher
        self.stager = stager

    def define(
        self,
        list_id: str = "list",
        body: str = "",
        *,
        max_age: float = 30 * 86_400.0,
        nature: ListNature = ListNature.ILLEGAL,
    ) -> ListDefinition:
        """Define a list; each belongs to a body of its own unless one is named."""
        definition = ListDefinition(
            list_id=list_id, body=body or f"body of {list_id}", nature=nature, max_age=max_age, scheme="scheme"
        )
        self.publisher.define_list(definition, ACTOR)
        return definition

    def stage(
        self,
        delivery: str | Iterable[bytes],
        list_id: str = "list",
        mode: DeliveryMode = DeliveryMode.FULL,
        **header: object,
    ) -> Staging:
        """Stage a delivery: rows of `PROFILE`, or any text in the format that the header states."""
        stated: dict[str, object] = {"format": "columns", "staged_by": IMPORTER, **header}
        if stated["format"] == "columns":
            stated.setdefault("profile", PROFILE)
        data = [delivery.encode()] if isinstance(delivery, str) else delivery
        return self.stager.stage(DeliveryHeader(list_id=list_id, mode=mode, **stated), data)  # type: ignore[arg-type]

    def stage_hashes(self, digests: Iterable[bytes], list_id: str = "list", **rest: object) -> Staging:
        """Stage plain text, one hash a line."""
        text = "".join(digest.hex() + "\n" for digest in digests)
        return self.stage(text, list_id, format="hash-text", **rest)  # type: ignore[arg-type]

    def approve(self, staging: Staging) -> None:
        """Approve as two people."""
        for approver in APPROVERS:
            self.publisher.approve(staging.staging_id, approver, staging.approval_digest)

    def publish(self, staging: Staging) -> tuple[Generation, int]:
        """Approve and publish, whatever acceptable gates say."""
        self.approve(staging)
        unmet = [gate.name for gate in staging.report.unmet]
        return self.publisher.publish(staging.staging_id, ACTOR, accept_gates=unmet, reason="a test")

    def deliver(self, delivery: str, list_id: str = "list", **rest: object) -> Generation:
        """Stage rows of `PROFILE` and publish them."""
        return self.publish(self.stage(delivery, list_id, **rest))[0]  # type: ignore[arg-type]

    def deliver_hashes(self, digests: Iterable[bytes], list_id: str = "list", **rest: object) -> Generation:
        """Stage plain hashes and publish them."""
        return self.publish(self.stage_hashes(digests, list_id, **rest))[0]

    def manifest(self) -> Manifest:
        """What is published now."""
        sealed = self.store.manifests.load()
        assert sealed is not None
        return sealed.manifest

    def loader(self, *, resident: bool = False, cache_bytes: int = 1 << 20) -> SnapshotLoader:
        """A loader of its own."""
        return SnapshotLoader(self.store.segments, self.store.suppressions, BlockCache(cache_bytes), resident=resident)

    def snapshot(self, *, resident: bool = False) -> Snapshot:
        """What a server that starts now answers from."""
        return self.loader(resident=resident).load(self.manifest(), None)

    def ask(
        self,
        algorithm: Algorithm,
        digests: Sequence[bytes],
        scope: Scope = EVERYTHING,
        *,
        snapshot: Snapshot | None = None,
        doubts: tuple[Cause, ...] = (),
        source_keys: bool = False,
        supplied: bool = False,
    ) -> ColumnAnswer:
        """Ask about a column of digests, whose blocks are `supplied` as on an event loop or else waited for."""
        seen = view(snapshot or self.snapshot(), scope, now=self.clock.now(), doubts=doubts)
        question = ColumnQuestion(seen, algorithm, b"".join(digests))
        question.probe()
        if supplied:
            self._supply(question)
        return question.confirm(source_keys=source_keys)

    def ask_items(
        self,
        items: Sequence[Sequence[tuple[int, bytes]]],
        scope: Scope = EVERYTHING,
        *,
        snapshot: Snapshot | None = None,
        doubts: tuple[Cause, ...] = (),
        supplied: bool = False,
    ) -> list[ItemAnswer]:
        """Ask about items, each given as (algorithm, value) pairs."""
        seen = view(snapshot or self.snapshot(), scope, now=self.clock.now(), doubts=doubts)
        question = ItemsQuestion(seen, [[AskedHash(*asked) for asked in item] for item in items])
        question.probe()
        if supplied:
            self._supply(question)
        return question.confirm()

    def _supply(self, question: ColumnQuestion | ItemsQuestion) -> None:
        supply = Supply()
        while question.needs_store(supply) and (keys := supply.wanted_keys):
            supply.bring(self.store.connection.get_many(keys))
