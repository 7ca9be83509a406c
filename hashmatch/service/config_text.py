"""The configuration as text: what is in force, and the reference of all settings."""

from __future__ import annotations

import json
from typing import Any

from hashmatch.service.addresses import mask_url
from hashmatch.service.config_loader import LoadedConfig
from hashmatch.service.config_schema import known_settings, section_description, section_types

_INTRODUCTION = """\
# Configuration

<!-- Made by `hashmatch-server config reference` from the types in hashmatch/service/config*.py. Do not edit. -->

A setting comes from the first of these that gives it:

1. a flag: `--set SECTION.KEY=VALUE`, or one of the flags that `hashmatch-server --help` names;
2. the environment: `HASHMATCH_SECTION__KEY`, for example `HASHMATCH_SERVER__LISTEN`; lists are separated by commas;
3. the TOML file that `--config` or `HASHMATCH_CONFIG` names;
4. the default.

A setting that does not exist is an error in each of them. Secrets are never values: settings name the files that hold
them. `hashmatch-server config show` prints what is in force and where each setting that is not a default comes from.
Relative paths start at the directory in which the server is started.
"""


def show(loaded: LoadedConfig) -> str:
    """The configuration in force as TOML, with the source of each value that was set. It can be loaded again."""
    lines: list[str] = []
    for section in section_types():
        lines.append(f"[{section}]")
        for key, known in known_settings().items():
            if known.section != section:
                continue
            value = getattr(getattr(loaded.config, section), known.name)
            origin = loaded.origins.get(key)
            lines.append(f"{known.name} = {toml(value)}" + (f"  # {_one_line(origin)}" if origin else ""))
        lines.append("")
    return "\n".join(lines)


def reference() -> str:
    """Every setting with its type, range, default and purpose, as Markdown."""
    lines = [_INTRODUCTION]
    for section in section_types():
        lines += [f"## `[{section}]`", "", section_description(section), ""]
        lines += ["| key | values | default | purpose |", "|---|---|---|---|"]
        lines += [
            f"| `{known.name}` | {_cell(known.values)} | `{toml(known.default)}` | {_cell(known.description)} |"
            for known in known_settings().values()
            if known.section == section
        ]
        lines.append("")
    return "\n".join(lines)


def toml(value: Any) -> str:
    """A value of a setting in TOML's notation, with the password of a URL masked."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML's basic strings are JSON's, except that TOML also wants DEL escaped and knows no surrogates.
        return json.dumps(mask_url(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    return repr(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
