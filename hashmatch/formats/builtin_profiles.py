"""Profiles of tables that come with hashmatch, as a beginning: their layouts are assumptions, for none is public.

Each file says what it assumes. An operator copies it, holds it against what the body delivers, and keeps the copy.
"""

from __future__ import annotations

from importlib import resources

_SUFFIX = ".toml"


def builtin_names() -> list[str]:
    """The names of the profiles, in order."""
    entries = (resources.files("hashmatch.formats") / "profiles").iterdir()
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX))


def builtin_profile(name: str) -> str:
    """The text of a profile. Raises `KeyError` for a name that is none of `builtin_names`."""
    if name not in builtin_names():
        raise KeyError(name)
    return (resources.files("hashmatch.formats") / "profiles" / f"{name}{_SUFFIX}").read_text("utf-8")
