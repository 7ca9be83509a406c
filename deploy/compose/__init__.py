"""Everything on one machine: the compose file, and `python -m deploy.compose.prepare`, which makes its secrets."""
