"""The `hashmatch` command."""
