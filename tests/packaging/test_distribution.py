"""What the distribution states: a light client, and the server as an extra."""

import tomllib
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LIGHT = {"googleapis-common-protos", "grpcio", "grpcio-status", "protobuf", "rich", "shtab"}


def name_of(requirement):
    return requirement.partition(">")[0].partition("[")[0]


def test_the_client_needs_only_what_is_light():
    assert {name_of(each) for each in STATED["project"]["dependencies"]} == LIGHT


def test_what_is_installed_is_what_is_stated():
    unconditional = [each for each in requires("hashmatch") or () if "extra ==" not in each]
    assert {name_of(each) for each in unconditional} == LIGHT


def test_what_pictures_need_is_an_extra_of_wheels():
    assert {name_of(each) for each in STATED["project"]["optional-dependencies"]["images"]} == {"numpy", "pillow"}


def test_every_package_is_in_the_distribution():
    places = STATED["tool"]["setuptools"]["package-dir"]
    there = set()
    for package, place in places.items():
        for initial in (ROOT / place).rglob("__init__.py"):
            there.add(".".join((package, *initial.parent.relative_to(ROOT / place).parts)))
    assert set(STATED["tool"]["setuptools"]["packages"]) == there


def test_both_libraries_say_that_they_are_typed():
    for place in STATED["tool"]["setuptools"]["package-dir"].values():
        assert (ROOT / place / "py.typed").is_file()


def test_no_address_to_download_from_stands_in_a_file_that_installs():
    for name in ("pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text("utf-8")
        assert "://" not in text
        assert "-".join(("index", "url")) not in text
