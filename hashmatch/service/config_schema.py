"""The settings that there are, read off the types in `config`, for everything that treats all settings alike."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import msgspec

from hashmatch.service.config import Config

ENVIRONMENT_PREFIX = "HASHMATCH_"


@dataclass(frozen=True, slots=True)
class KnownSetting:
    """A setting: its section and name, its type with its range (`annotated`), its default and what it is for."""

    section: str
    name: str
    annotated: Any
    default: Any
    description: str

    @property
    def key(self) -> str:
        """How files, flags and errors name it."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """How the environment names it."""
        return f"{ENVIRONMENT_PREFIX}{self.section}__{self.name}".upper()

    @property
    def plain_type(self) -> Any:
        """The type without its range."""
        return get_args(self.annotated)[0]

    @property
    def is_list(self) -> bool:
        """Whether it holds several values."""
        return get_origin(self.plain_type) is tuple

    @property
    def values(self) -> str:
        """What may be given, for people."""
        if get_origin(self.plain_type) is Literal:
            return " or ".join(f'"{value}"' for value in get_args(self.plain_type))
        if self.is_list:
            return "list of texts"
        word = {str: "text", bool: "true or false", int: "whole number", float: "number"}[self.plain_type]
        meta = get_args(self.annotated)[1]
        if meta.pattern:
            return f"{word} of the form `{meta.pattern}`"
        if meta.min_length:
            return f"{word}, not empty"
        above = f", more than {meta.gt}" if meta.gt is not None else f", {meta.ge}" if meta.ge is not None else ""
        if meta.le is None:
            return word
        return f"{word}{above}{', at most ' if meta.gt is not None else ' to '}{meta.le}"


@functools.cache
def known_settings() -> Mapping[str, KnownSetting]:
    """Every setting by its key, in the order of the types."""
    return MappingProxyType(
        {
            f"{section.name}.{field.name}": KnownSetting(
                section=section.name,
                name=field.name,
                annotated=field.type,
                default=field.default,
                description=get_args(field.type)[1].description,
            )
            for section in msgspec.structs.fields(Config)
            for field in msgspec.structs.fields(section.type)
        }
    )


@functools.cache
def section_types() -> Mapping[str, type[msgspec.Struct]]:
    """The type of each section, in the order of the configuration."""
    return MappingProxyType({field.name: field.type for field in msgspec.structs.fields(Config)})


def section_description(section: str) -> str:
    """What a section is for."""
    return inspect.cleandoc(section_types()[section].__doc__ or "")
