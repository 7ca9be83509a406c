"""Packed columns of digests: where a digest is placed, how columns are sorted and joined."""
