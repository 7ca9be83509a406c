"""The in-memory tables that answer most questions without the store."""
