"""The command line: what it takes, what the guide says of it, and what it costs to start."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.admin.parser import build_parser

GUIDE = Path(__file__).parents[3] / "docs" / "guide-operator.md"
SYNTHETIC = "0" * 64


def parsers(parser, name=""):
    yield name, parser
    for action in parser._actions:
        if hasattr(action, "choices") and isinstance(action.choices, dict):
            for word, command in action.choices.items():
                yield from parsers(command, f"{name} {word}".strip())


def commands():
    return {name: parser for name, parser in parsers(build_parser()) if parser.get_default("run")}


def guide_commands():
    """The commands in the guide's shell blocks, without prompts, redirections and what is piped."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.partition("hashmatch-admin ")[2] for line in lines if "hashmatch-admin " in line]
    return [re.split(r" [>|] ", command)[0] for command in commands]


@pytest.mark.parametrize("line", guide_commands())
def test_every_command_of_the_guide_is_understood(line):
    line = line.replace("$DIGEST", SYNTHETIC).replace("$ID", "0123456789abcdef")
    build_parser().parse_args(shlex.split(line, comments=True))


def test_the_guide_shows_every_command():
    shown = [" ".join(line.split()[:2]) for line in guide_commands()]
    for name in commands():
        assert any(line == name or line.startswith(f"{name} ") for line in shown), name


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_leads_to_a_function(name):
    module, function = commands()[name].get_default("run")
    assert callable(getattr(importlib.import_module(f"hashmatch.admin.{module}"), function))


@pytest.mark.parametrize("name", list(dict(parsers(build_parser()))))
def test_every_help_documents_every_exit_code(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    for code in Exit:
        assert re.search(rf"^  {code.value} ", text, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [(), ("list",), ("staging", "approve"), ("history", "--limit", "0"), ("stage", "f")]
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: hashmatch-admin")


def test_options_are_not_abbreviated(capsys):
    assert main(["history", "--lim", "3"]) == 2
    assert "--lim" in capsys.readouterr().err


def test_a_digest_and_the_promise_to_have_read_do_not_go_together(capsys):
    assert main(["staging", "approve", "id", "--digest", SYNTHETIC, "--yes-i-read-the-report"]) == 2
    assert SYNTHETIC not in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_printed(shell, capsys):
    assert main(["--print-completion", shell]) == 0
    assert "hashmatch-admin" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hashmatch-admin ")


def loaded_by(code):
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_starts_without_grpc():
    modules = loaded_by("import hashmatch.admin.main as m; m.build_parser()")
    assert not modules & {"grpc", "google.protobuf", "rich", "shtab"}


def test_the_command_knows_nothing_of_the_server():
    homes = {parser.get_default("run")[0] for parser in commands().values()}
    modules = loaded_by("import " + ", ".join(f"hashmatch.admin.{home}" for home in sorted(homes)))
    assert not modules & {"numpy", "redis", "numba", "msgspec", "structlog", "rich"}
    inner = ("store", "ingest", "index", "matching", "service", "model", "formats", "trust")
    assert not [name for name in modules if name.startswith(tuple(f"hashmatch.{package}" for package in inner))]
