"""The names of keys: the one place that knows them."""

from __future__ import annotations


class Keys:
    """The key names of one namespace, so that several instances can share a store."""

    def __init__(self, namespace: str) -> None:
        self._prefix = namespace.encode("ascii")
        self.manifest = self._prefix + b":manifest"
        self.stagings = self._prefix + b":stagings"
        self.proposals = self._prefix + b":proposals"
        self.pending = self._prefix + b":pending"
        self.changed = self._prefix + b":changed"
        self.feeds = self._prefix + b":feeds"
        self.feedback = self._prefix + b":feedback"
        self.floods = self._prefix + b":floods"
        self.damaged = self._prefix + b":damaged"
        # What is written, and deleted at once, by whoever waits for the disk; of a cluster the names begin so.
        self.mark = self._prefix + b":mark"

    def block_prefix(self, segment_id: str) -> bytes:
        """What the keys of a segment's blocks begin with; the block's number in decimal follows."""
        return b"%b:b:%b:" % (self._prefix, segment_id.encode("ascii"))

    def feed_lease(self, feed_id: str) -> bytes:
        """Who runs a feed at the moment."""
        return b"%b:f:%b" % (self._prefix, feed_id.encode("ascii"))

    def counts(self, day: str) -> bytes:
        """What was counted on a day."""
        return b"%b:c:%b" % (self._prefix, day.encode("ascii"))

    def budget(self, client_id: str) -> bytes:
        """What a client has spent. The braces keep it in one slot with the sketch."""
        return b"%b:q:{%b}" % (self._prefix, client_id.encode("ascii"))

    def budget_sketch(self, client_id: str, day: str) -> bytes:
        """The sketch of the distinct hashes that a client asked about on a day."""
        return b"%b:q:{%b}:%b" % (self._prefix, client_id.encode("ascii"), day.encode("ascii"))

    def sets(self, segment_id: str) -> bytes:
        """A segment's statement sets."""
        return b"%b:s:%b" % (self._prefix, segment_id.encode("ascii"))

    def suppressions(self, blob_id: str) -> bytes:
        """A version of the suppressions."""
        return b"%b:x:%b" % (self._prefix, blob_id.encode("ascii"))
