"""Where settings come from and which of them wins: defaults, then the file, the environment, and flags.

Every setting remembers its source, so that a wrong one is reported with the place to correct it, and `config show` can
say why a value is what it is. All problems are reported at once. A setting that nobody knows is an error in every
source: a misspelt limit must not leave the default in force silently.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hashmatch.service.config import Config
from hashmatch.service.config_problems import problems
from hashmatch.service.config_schema import ENVIRONMENT_PREFIX, KnownSetting, known_settings, section_types

CONFIG_VARIABLE = "HASHMATCH_CONFIG"

# The variables of the two command lines: all the programs are often run from one shell.
_CLIENT_VARIABLES = frozenset(
    f"HASHMATCH_{name}"
    for name in (
        "TARGET",
        "ADMIN_TARGET",
        "MATCH_TARGET",
        "OPERATOR",
        "APPROVER_KEY",
        "CA_FILE",
        "CERT_FILE",
        "KEY_FILE",
        "PURPOSE",
        "TIMEOUT",
    )
)
# Kubernetes describes every Service to every pod in variables of this form, so that a Service that is called hashmatch
# would otherwise keep its own pods from starting.
_SERVICE_LINK = re.compile(
    r"HASHMATCH_(?:[A-Z0-9]+_)*"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9]+)*|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


class ConfigurationError(Exception):
    """Settings that the server must not run with. `problems` has one line each, with its source and key."""

    def __init__(self, found: Iterable[str]) -> None:
        self.problems = tuple(found)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that a source gives to `key` (`section.name`). With `is_text` it is yet to be read by the key's type."""

    key: str
    value: Any
    source: str
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A valid configuration and, for every key that a source set, which source."""

    config: Config
    origins: Mapping[str, str]


def load(*, file: Path | None = None, environ: Mapping[str, str], flags: Iterable[Setting] = ()) -> LoadedConfig:
    """The configuration that the sources give together. Raises `ConfigurationError`.

    `file` is the one named by a flag; without it, `HASHMATCH_CONFIG` in `environ` may name one.
    """
    found: list[str] = []
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    settings: dict[str, Setting] = {}
    for setting in itertools.chain(_from_file(file, found), _from_environment(environ), flags):
        settings[setting.key] = setting
    config = _build(settings, found)
    if not found:
        for problem in problems(config):
            source = f"{settings[problem.key].source}: " if problem.key in settings else ""
            found.append(f"{source}{problem.key}: {problem.text}")
    if found:
        raise ConfigurationError(found)
    return LoadedConfig(config, {key: setting.source for key, setting in settings.items()})


def flag(text: str) -> Setting:
    """The setting in the argument of `--set`, `section.name=value`. Raises `ConfigurationError`."""
    key, equals, value = text.partition("=")
    if not equals or key.count(".") != 1:
        raise ConfigurationError([f"--set {key}: expected SECTION.KEY=VALUE"])
    return Setting(key.strip(), value.strip(), "--set", is_text=True)


def _from_file(file: Path | None, found: list[str]) -> Iterator[Setting]:
    if file is None:
        return
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        found.append(f"{file}: {error.strerror}")
        return
    except UnicodeDecodeError:
        found.append(f"{file}: is not UTF-8")
        return
    except tomllib.TOMLDecodeError as error:
        found.append(f"{file}: is not TOML: {error}")
        return
    for section, table in content.items():
        if isinstance(table, dict):
            for name, value in table.items():
                yield Setting(f"{section}.{name}", value, str(file))
        else:
            found.append(f"{file}: {section}: belongs into a section, for example [server]")


def _from_environment(environ: Mapping[str, str]) -> Iterator[Setting]:
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        if variable in _CLIENT_VARIABLES or ("__" not in variable and _SERVICE_LINK.fullmatch(variable)):
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
        yield Setting(key, environ[variable], variable, is_text=True)


def _build(settings: Mapping[str, Setting], found: list[str]) -> Config:
    """The configuration with the settings that are right; what is wrong with the others goes to `found`."""
    known = known_settings()
    values: dict[str, dict[str, Any]] = {section: {} for section in section_types()}
    for key, setting in settings.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            found.append(f"{setting.source}: {key}: there is no such setting" + (f"; {close[0]}?" if close else ""))
            continue
        try:
            values[known[key].section][known[key].name] = _convert(setting, known[key])
        except msgspec.ValidationError:
            # Never the value itself: somebody may have put a secret into the wrong place.
            found.append(f"{setting.source}: {key}: expected {known[key].values}")
    return msgspec.convert(values, Config)


def _convert(setting: Setting, known: KnownSetting) -> Any:
    if not setting.is_text:
        return msgspec.convert(setting.value, known.annotated)
    if known.is_list:
        items = (item.strip() for item in setting.value.split(","))
        return msgspec.convert([item for item in items if item], known.annotated)
    return msgspec.convert(setting.value, known.annotated, strict=False)
