"""Generated from proto/hashmatch/v1; never edited by hand."""
