"""Whatever a thread may read is prepared before there are threads: see `hashmatch.model.prepared`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import hashmatch

ROOT = Path(hashmatch.__file__).parent
# What is read before there are threads, or in a process that has none.
READ_BY_ONE = {
    "model/classification.py": {"_Document"},
    "service/config_loader.py": {"Config", "known.annotated"},
    "ingest/feeds/definition.py": {"FeedDefinition"},
    "operations/restore.py": {"Contents"},
    # Part of the manifest, whose reader is made on import.
    "ingest/acts.py": {"HistoryRecord"},
    # Whoever calls it names a prepared type.
    "ingest/feeds/body.py": {"form"},
    "ingest/feeds/credentials.py": {"kind"},
}


def _prepared() -> set[str]:
    names = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and "prepared" in map(ast.unparse, node.decorator_list):
                names.add(f"{path.relative_to(ROOT)}:{node.name}")
    return names


def _read(tree: ast.Module) -> Iterator[str]:
    """The types that a module has msgspec read into, but for those of decoders that it keeps."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.startswith("msgspec.") and called.endswith(".decode"):
            yield from (ast.unparse(each.value) for each in node.keywords if each.arg == "type")
        elif called == "msgspec.convert":
            yield ast.unparse(node.args[1])


def _kept(tree: ast.Module) -> Iterator[ast.Call]:
    """Decoders that are made inside a function or a class."""
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".Decoder") and node.args:
                    yield node


def test_no_thread_is_the_first_to_read_a_type() -> None:
    prepared = _prepared()
    assert prepared
    for path in ROOT.rglob("*.py"):
        name = str(path.relative_to(ROOT))
        tree = ast.parse(path.read_text("utf-8"))
        own = {each.partition(":")[2] for each in prepared if each.startswith(f"{name}:")}
        assert set(_read(tree)) <= own | READ_BY_ONE.get(name, set()), name


def test_decoders_are_made_on_import() -> None:
    # The parsers' own run in the importer, which has one thread, and the channel's before there is a second one.
    elsewhere = {"formats/vics.py", "formats/bundle.py", "service/channel.py", "model/prepared.py"}
    for path in ROOT.rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if name not in elsewhere:
            assert list(_kept(ast.parse(path.read_text("utf-8")))) == [], name
