"""Delivery formats: bytes in, entries and quarantined records out. Streaming, no I/O."""
