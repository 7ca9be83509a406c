"""The profile of a delivery: from a file, or one that comes with hashmatch."""

from __future__ import annotations

from pathlib import Path

from hashmatch_client import ConfigurationError

_BUILTIN = "builtin:"


def profile_text(format_name: str, source: str | None) -> str:
    """The text of the profile that `source` (a file, or `builtin:NAME`) is; empty for formats that take none.

    Raises `ConfigurationError` if the format and the profile do not go together, or the profile cannot be had.
    """
    if (format_name == "columns") != (source is not None):
        raise ConfigurationError("--format columns needs --profile FILE, and no other format takes one")
    if source is None:
        return ""
    if source.startswith(_BUILTIN):
        return _builtin(source.removeprefix(_BUILTIN))
    try:
        return Path(source).read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{source}: a profile is UTF-8 text") from None


def _builtin(name: str) -> str:
    from hashmatch.formats.builtin_profiles import builtin_names, builtin_profile

    try:
        return builtin_profile(name)
    except KeyError:
        names = ", ".join(_BUILTIN + name for name in builtin_names())
        raise ConfigurationError(f"there is no such profile; there are: {names}") from None
