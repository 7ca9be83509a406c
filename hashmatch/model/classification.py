"""Classification: what a body's label is known to say, in words that bodies share. Data; the rules alone are here.

1. A label stands for every depiction that its scheme uses it for, and says for certain only what all of them have in
   common: NCMEC's A2 says "under 13" and nothing of the Baseline, IWF's A says nothing of age.
2. Whether the Baseline's criteria are met is "yes" only if every depiction meets them and the scheme says that a real
   child is depicted; "no" only if none can.
3. What the data do not name is UNMAPPED. It is never guessed from the form of a label or from a similar scheme.

The classification stands beside the raw label and never in its place.
"""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

import msgspec

CURRENT_VERSION = 1


class Baseline(enum.Enum):
    """Whether the criteria of INTERPOL's Baseline list are met."""

    UNKNOWN = ""
    YES = "yes"
    NO = "no"


class Classification(msgspec.Struct, frozen=True):
    """What a label is known to say. Texts are stable words of the data; an empty one says nothing either way.

    `depicted` are the depictions that the label may stand for, in the order of the data; none if it is unmapped.
    """

    depicted: tuple[str, ...] = ()
    age: str = ""
    act: str = ""
    portrayal: str = ""
    baseline: Baseline = Baseline.UNKNOWN

    @property
    def mapped(self) -> bool:
        """Whether the data know the label."""
        return bool(self.depicted)


UNMAPPED = Classification()


class ClassificationDataError(Exception):
    """The data contradict themselves, or are not in their form."""


class _Depiction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    baseline: bool
    age: str = ""
    act: str = ""
    portrayal: str = ""


class _Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: tuple[str, ...]
    depicts: tuple[str, ...]
    portrayal: str = ""


class _Scheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    label: tuple[_Label, ...]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    depiction: tuple[_Depiction, ...]
    scheme: tuple[_Scheme, ...]


class ClassificationMap:
    """One version of the data."""

    def __init__(self, version: int, labels: Mapping[tuple[str, str], Classification]) -> None:
        """`labels` are by scheme and label, both casefolded."""
        self.version = version
        self._labels = dict(labels)

    def classify(self, scheme: str, label: str) -> Classification:
        """What `label` says under `scheme`, whatever the case of either; UNMAPPED if the data do not know it."""
        return self._labels.get((scheme.casefold(), label.strip().casefold()), UNMAPPED)

    @property
    def classifications(self) -> frozenset[Classification]:
        """Every classification that `classify` may return."""
        return frozenset((*self._labels.values(), UNMAPPED))

    def contradict(self, one: Iterable[tuple[str, str]], other: Iterable[tuple[str, str]]) -> bool:
        """Whether labels, given as (scheme, label), cannot all be true of one file; False if that cannot be known."""
        return any(_exclude_each_other(self.classify(*this), self.classify(*that)) for this in one for that in other)


def _exclude_each_other(one: Classification, other: Classification) -> bool:
    if not (one.mapped and other.mapped) or set(one.depicted) & set(other.depicted):
        return False
    # What is drawn or generated shows some act as well: schemes that do not tell it apart label it by that act.
    return not (_may_be_drawn_like(one, other) or _may_be_drawn_like(other, one))


def _may_be_drawn_like(one: Classification, other: Classification) -> bool:
    return "drawn-or-generated" in one.depicted and other.portrayal != "real"


def parse_classification_map(text: str) -> ClassificationMap:
    """The map that a document of the data states. Raises `ClassificationDataError`."""
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ClassificationDataError(str(error)) from error
    if document.version < 1:
        raise ClassificationDataError("versions begin at 1")
    depictions = {each.name: each for each in document.depiction}
    if len(depictions) != len(document.depiction) or "" in depictions:
        raise ClassificationDataError("a depiction without a name, or two of one name")
    labels: dict[tuple[str, str], Classification] = {}
    for scheme in document.scheme:
        for label in scheme.label:
            classification = _common(scheme.name, label, depictions)
            for name in label.names:
                place = (scheme.name.casefold(), name.strip().casefold())
                if not all(place) or place in labels:
                    raise ClassificationDataError(f"{scheme.name}: a label without a name, or {name!r} twice")
                labels[place] = classification
    return ClassificationMap(document.version, labels)


def _common(scheme: str, label: _Label, depictions: Mapping[str, _Depiction]) -> Classification:
    """What everything that a label may stand for has in common."""
    unknown = [name for name in label.depicts if name not in depictions]
    if unknown or not label.depicts or not label.names or len(set(label.depicts)) != len(label.depicts):
        raise ClassificationDataError(f"{scheme}: {label.names}: depicts nothing, the same twice, or unknown {unknown}")
    meant = [each for name, each in depictions.items() if name in label.depicts]
    if any(each.portrayal and label.portrayal not in ("", each.portrayal) for each in meant):
        raise ClassificationDataError(f"{scheme}: {label.names}: its portrayal contradicts a depiction")
    portrayal = label.portrayal or _shared(each.portrayal for each in meant)
    if portrayal == "real" and all(each.baseline for each in meant):
        baseline = Baseline.YES
    elif portrayal not in ("", "real") or not any(each.baseline for each in meant):
        baseline = Baseline.NO
    else:
        baseline = Baseline.UNKNOWN
    return Classification(
        depicted=tuple(each.name for each in meant),
        age=_shared(each.age for each in meant),
        act=_shared(each.act for each in meant),
        portrayal=portrayal,
        baseline=baseline,
    )


def _shared(words: Iterable[str]) -> str:
    """The one word that all are, or nothing."""
    distinct = set(words)
    return distinct.pop() if len(distinct) == 1 else ""


@cache
def classification_map(version: int = CURRENT_VERSION) -> ClassificationMap:
    """A version of the data that comes with this release. Raises `ClassificationDataError` if there is none."""
    source = files("hashmatch.model") / "data" / f"classification-{version}.toml"
    if not source.is_file():
        raise ClassificationDataError(f"there is no version {version}")
    loaded = parse_classification_map(source.read_text("utf-8"))
    if loaded.version != version:
        raise ClassificationDataError(f"classification-{version}.toml says that it is version {loaded.version}")
    return loaded
