"""Hashes in, verdicts and opinions out."""
