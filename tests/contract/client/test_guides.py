"""What the guides show is what happens."""

import hashlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hashmatch_client import ListNature
from hashmatch_client.cli.main import main
from hashmatch_client.testing import FakeHashmatch, FakeList

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(guide):
    return BLOCK.findall((DOCS / guide).read_text("utf-8"))


def hashed(text, algorithm="sha256"):
    return hashlib.new(algorithm, text.encode()).hexdigest()


@pytest.fixture(autouse=True)
def server(monkeypatch):
    lists = {
        "hotline-demo": FakeList(
            {hashed("benign 1\n"): "A1", hashed("benign 2\n", "md5"): "B2"}, body="Demo Hotline", flags=("series",)
        ),
        "clearing-demo": FakeList(
            {hashed("benign 1\n", "sha1"): "1"}, body="Demo Clearing House", scheme="vic", age=timedelta(hours=5)
        ),
        "selftest": FakeList(
            {hashed("benign 3\n"): "fixture"}, body="Operator", nature=ListNature.TEST, scheme="", algorithms=()
        ),
    }
    with FakeHashmatch(lists) as fake:
        monkeypatch.setenv("HASHMATCH_TARGET", fake.target)
        yield fake


@pytest.fixture
def case(tmp_path, monkeypatch):
    """The files of the analyst's guide."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case-17" / "mail").mkdir(parents=True)
    contents = {
        "0001.jpg": "benign 1\n",
        "0002.jpg": "benign 2\n",
        "0003.jpg": "other\n",
        "selftest.jpg": "benign 3\n",
        "mail/attachment.mp4": "more\n",
    }
    for name, content in contents.items():
        (tmp_path / "case-17" / name).write_text(content)
    (tmp_path / "case-17" / "latest.jpg").symlink_to("0001.jpg")
    sums = [f"{hashed(contents[name])}  case-17/{name}" for name in ("0001.jpg", "0002.jpg", "selftest.jpg")]
    (tmp_path / "reviewed.txt").write_text(f"{hashed(contents['0001.jpg'])}  case-17/0001.jpg\n")
    (tmp_path / "sums.txt").write_text("\n".join([*sums, "not a hash\n"]))


def test_the_analysts_commands_print_what_the_guide_shows(case, capsys):
    consoles = [text for kind, text in blocks("guide-analyst.md") if kind == "console"]
    assert len(consoles) > 5
    code = None
    for console in consoles:
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE):
            if command == "echo $?":
                assert shown.strip() == str(int(code))
                continue
            program, *arguments = command.split()
            assert program == "hashmatch"
            code = main(arguments)
            out, err = capsys.readouterr()
            assert [line.rstrip() for line in (out + err).splitlines()] == shown.splitlines()


def test_the_platforms_code_prints_what_the_guide_shows(capsys):
    names = {}
    for kind, text in blocks("guide-platform.md"):
        if kind == "python":
            exec(compile(text, "guide-platform.md", "exec"), names)
        else:
            assert kind == "text"
            assert capsys.readouterr().out == text
    assert capsys.readouterr().out == ""
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()
