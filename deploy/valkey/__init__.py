"""The settings and users of the store, and `python -m deploy.valkey.users`, which makes the users."""
