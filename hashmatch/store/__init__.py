"""Sealed segments and the manifest in Redis: the only room that knows a Redis key."""
