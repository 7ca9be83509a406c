"""A fake server with two lists, a folder of files, and the command."""

import hashlib
import os

import pytest
from hashmatch_client import ListNature
from hashmatch_client.cli.main import main
from hashmatch_client.testing import FakeHashmatch, FakeList


def hashed(text, algorithm="sha256"):
    return hashlib.new(algorithm, text.encode()).hexdigest()


@pytest.fixture
def server(monkeypatch):
    lists = {
        "alpha": FakeList({hashed("known"): "A1", hashed("known", "md5"): "A1"}, body="Alpha", flags=["series"]),
        "selftest": FakeList({hashed("fixture"): "fixture"}, body="Operator", nature=ListNature.TEST, algorithms=()),
    }
    for name in list(os.environ):
        if name.startswith("HASHMATCH_"):
            monkeypatch.delenv(name)
    with FakeHashmatch(lists) as fake:
        monkeypatch.setenv("HASHMATCH_TARGET", fake.target)
        yield fake


@pytest.fixture
def files(tmp_path, monkeypatch):
    folder = tmp_path / "report"
    folder.mkdir()
    for name in ("known", "fixture", "unknown"):
        (folder / f"{name}.jpg").write_text(name)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def run(capsys):
    """Runs the command; returns its exit code, its lines on standard output, and what it said on standard error."""

    def command(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return command
