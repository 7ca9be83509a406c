"""The store as one thing: everything that lies in Redis under one namespace and one sealing key."""

from __future__ import annotations

from hashmatch.store.archive import Archive
from hashmatch.store.budgets import BudgetStore
from hashmatch.store.connection import Connection
from hashmatch.store.counts import CountStore
from hashmatch.store.damage import DamageNotes
from hashmatch.store.feedback import FeedbackStore
from hashmatch.store.feeds import FeedStore
from hashmatch.store.floods import FloodStore
from hashmatch.store.keys import Keys
from hashmatch.store.manifest import ManifestStore
from hashmatch.store.proposals import ProposalStore
from hashmatch.store.segments import SegmentStore
from hashmatch.store.stagings import StagingStore
from hashmatch.store.suppressions import SuppressionStore
from hashmatch.trust.sealing import SealingKey


class Store:
    """The parts of the store, over one connection."""

    def __init__(
        self,
        connection: Connection,
        sealing_key: SealingKey,
        namespace: str = "hashmatch",
        archive: Archive | None = None,
    ) -> None:
        """What is written is copied to `archive` where there is one."""
        self.archive = archive
        self.sealing_key = sealing_key
        self.connection = connection
        self.keys = Keys(namespace)
        self.manifests = ManifestStore(connection, self.keys, sealing_key)
        self.segments = SegmentStore(connection, self.keys, sealing_key, archive)
        self.suppressions = SuppressionStore(connection, self.keys, sealing_key, archive)
        self.stagings = StagingStore(connection, self.keys, sealing_key)
        self.proposals = ProposalStore(connection, self.keys, sealing_key)
        self.feeds = FeedStore(connection, self.keys, sealing_key)
        self.feedback = FeedbackStore(connection, self.keys, sealing_key)
        self.floods = FloodStore(connection, self.keys, sealing_key)
        self.budgets = BudgetStore(connection, self.keys, sealing_key)
        self.counts = CountStore(connection, self.keys, sealing_key)
        self.damage = DamageNotes(connection, self.keys)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
