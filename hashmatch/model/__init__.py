"""The nouns of the system as frozen types. Imports nothing of ours and no server library."""
