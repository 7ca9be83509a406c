"""hashmatch: batch membership queries over vetted hash lists. Empty, so that importing the stubs costs nothing."""
