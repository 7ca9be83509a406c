"""Checking a policy document where it is written, without a server."""

from __future__ import annotations

from hashmatch.trust.policy import PolicyError, parse_policy

__all__ = ["PolicyError", "parse_policy"]
