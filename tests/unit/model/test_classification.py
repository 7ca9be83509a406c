"""Classification: a label says what all its uses have in common, and never more."""

from __future__ import annotations

import itertools

import pytest

from hashmatch.model.classification import (
    UNMAPPED,
    Baseline,
    ClassificationDataError,
    classification_map,
    parse_classification_map,
)

KNOWN = classification_map()
# DOMAIN's table, row by row: what each scheme may call a depiction.
TABLE = {
    "under-13-penetrative-or-sadistic": {"ncmec": "A1", "iwf": "A", "interpol-baseline": "yes", "iccam": "baseline"},
    "under-13-other-act": {"ncmec": "A1", "iwf": "B", "interpol-baseline": "yes", "iccam": "baseline"},
    "under-13-genital-focus": {"ncmec": "A2", "iwf": "C", "interpol-baseline": "yes", "iccam": "baseline"},
    "under-13-other-nudity-or-posing": {"ncmec": "A2", "iwf": "C", "interpol-baseline": "no", "iccam": "national"},
    "13-to-17-penetrative": {"ncmec": "B1", "iwf": "A", "interpol-baseline": "no", "iccam": "national"},
    "13-to-17-other-act": {"ncmec": "B1", "iwf": "B", "interpol-baseline": "no", "iccam": "national"},
    "13-to-17-nudity-or-posing": {"ncmec": "B2", "iwf": "C", "interpol-baseline": "no", "iccam": "national"},
    "drawn-or-generated": {"interpol-baseline": "no", "iccam": "national", "vics:us": "3"},
    "exploitative": {"interpol-baseline": "no", "iccam": "not illegal", "vics:us": "2", "c3p": "harmful"},
}


@pytest.mark.parametrize(
    ("depiction", "scheme", "label"),
    [(row, scheme, label) for row, labels in TABLE.items() for scheme, label in labels.items()],
)
def test_a_label_stands_for_every_row_that_the_table_gives_it(depiction: str, scheme: str, label: str):
    assert depiction in KNOWN.classify(scheme, label).depicted


@pytest.mark.parametrize("scheme", ["ncmec", "iwf"])
def test_a_label_stands_for_no_row_that_the_table_does_not_give_it(scheme: str):
    for label in {labels[scheme] for labels in TABLE.values() if scheme in labels}:
        rows = {row for row, labels in TABLE.items() if labels.get(scheme) == label}
        assert set(KNOWN.classify(scheme, label).depicted) == rows


@pytest.mark.parametrize(
    ("scheme", "label", "age", "act", "portrayal", "baseline"),
    [
        ("ncmec", "A1", "under-13", "", "", Baseline.UNKNOWN),
        ("ncmec", "A2", "under-13", "", "", Baseline.UNKNOWN),
        ("ncmec", "B1", "13-to-17", "", "", Baseline.NO),
        ("ncmec", "B2", "13-to-17", "nudity-or-posing", "", Baseline.NO),
        ("iwf", "A", "", "penetrative-or-sadistic", "", Baseline.UNKNOWN),
        ("iwf", "B", "", "other-act", "", Baseline.UNKNOWN),
        ("iwf", "C", "", "", "", Baseline.UNKNOWN),
        ("interpol-baseline", "yes", "under-13", "", "real", Baseline.YES),
        ("interpol-baseline", "no", "", "", "", Baseline.NO),
        ("iccam", "baseline", "under-13", "", "real", Baseline.YES),
        ("iccam", "national", "", "", "", Baseline.NO),
        ("vics:us", "1", "", "", "", Baseline.UNKNOWN),
        ("vics:us", "2", "", "", "", Baseline.NO),
        ("vics:us", "3", "", "", "drawn-or-generated", Baseline.NO),
        ("c3p", "csam", "", "", "", Baseline.UNKNOWN),
        ("c3p", "harmful", "", "", "", Baseline.NO),
    ],
)
def test_a_label_says_only_what_all_its_rows_say(scheme, label, age, act, portrayal, baseline):
    said = KNOWN.classify(scheme, label)
    assert (said.age, said.act, said.portrayal, said.baseline) == (age, act, portrayal, baseline)


def test_only_the_baseline_itself_implies_the_baseline():
    labels = itertools.product(("ncmec", "iwf", "vics:us", "c3p"), ("A", "B", "C", "A1", "A2", "B1", "B2", "1", "csam"))
    assert not any(KNOWN.classify(*each).baseline is Baseline.YES for each in labels)


@pytest.mark.parametrize(
    ("scheme", "label"),
    [
        ("", "A1"),
        ("ncmec", ""),
        ("ncmec", "A3"),
        ("ncmec", "A"),
        ("vics", "1"),
        ("vics:uk", "1"),
        ("vics:us", "0"),
        ("vics:us", ""),
        ("inhope-ucs:3.1", "CSAM"),
    ],
)
def test_what_the_data_do_not_name_is_unmapped(scheme: str, label: str):
    assert KNOWN.classify(scheme, label) is UNMAPPED


def test_case_and_space_around_a_label_do_not_matter():
    assert KNOWN.classify("NCMEC", " a1 ") is KNOWN.classify("ncmec", "A1")


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        (("ncmec", "A1"), ("ncmec", "B1"), True),
        (("ncmec", "B1"), ("interpol-baseline", "yes"), True),
        (("ncmec", "A1"), ("interpol-baseline", "yes"), False),
        (("ncmec", "A1"), ("iwf", "A"), False),
        (("ncmec", "B2"), ("iwf", "A"), True),
        # Drawn material is labelled by its act where a scheme does not tell it apart.
        (("ncmec", "A1"), ("vics:us", "3"), False),
        (("interpol-baseline", "yes"), ("vics:us", "3"), True),
        (("ncmec", "A1"), ("nobody", "B1"), False),
    ],
)
def test_labels_contradict_each_other_only_if_no_file_can_be_both(one, other, contradict):
    assert KNOWN.contradict([one], [other]) is contradict
    assert KNOWN.contradict([other], [one]) is contradict


def test_an_answer_may_hold_every_classification_of_the_map():
    assert UNMAPPED in KNOWN.classifications
    assert KNOWN.classify("iwf", "b") in KNOWN.classifications


SOUND = """
version = 1
[[depiction]]
name = "a"
baseline = true
[[scheme]]
name = "s"
[[scheme.label]]
names = ["x"]
depicts = ["a"]
"""


@pytest.mark.parametrize(
    ("sound", "unsound"),
    [
        ("version = 1", "version = 0"),
        ("version = 1", ""),
        ("version = 1", "version = ["),
        ('name = "a"', 'name = ""'),
        ('depicts = ["a"]', 'depicts = ["b"]'),
        ('depicts = ["a"]', "depicts = []"),
        ('depicts = ["a"]', 'depicts = ["a", "a"]'),
        ('names = ["x"]', "names = []"),
        ('names = ["x"]', 'names = [" "]'),
        ('names = ["x"]', 'names = ["x", "X"]'),
        ('names = ["x"]', 'names = ["x"]\ncolour = "red"'),
        ("baseline = true", ""),
        ("[[scheme]]", '[[depiction]]\nname = "a"\nbaseline = true\n[[scheme]]'),
        ("baseline = true", 'baseline = true\nportrayal = "real"\n[[depiction]]\nname = "b"\nbaseline = true'),
    ],
)
def test_data_that_are_not_sound_are_refused(sound: str, unsound: str):
    parse_classification_map(SOUND)
    text = SOUND.replace(sound, unsound)
    if "portrayal" in unsound:
        text = text.replace('depicts = ["a"]', 'depicts = ["a"]\nportrayal = "drawn-or-generated"')
    with pytest.raises(ClassificationDataError):
        parse_classification_map(text)


def test_a_version_that_does_not_exist_is_an_error():
    with pytest.raises(ClassificationDataError):
        classification_map(999)
