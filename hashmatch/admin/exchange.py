"""`hashmatch-admin exchange`: lists between instances, signed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import Cell, counted

from hashmatch.admin.documents import Document
from hashmatch.admin.exits import Exit, RefusedHereError
from hashmatch.admin.locally import operations
from hashmatch.admin.output import print_result, print_rows

_COLUMNS = ("role", "version", "expires", "staged", "signatures", "threshold", "keys")
# Enough of a key's id to tell it from others, and to name it.
_SHORT = 16


def keygen(arguments: Namespace) -> Exit:
    """`exchange keygen`."""
    with _exchange() as exchange:
        made = exchange.make_key(Path(arguments.directory), arguments.name, _passphrase(arguments))
    document = {"key_file": str(made.key_file), "public_file": str(made.public_file), "key_id": made.key_id}
    sentence = f"Wrote {made.key_file}, which stays with its owner, and {made.public_file}."
    print_result(arguments, document, sentence)
    return Exit.DONE


def init(arguments: Namespace) -> Exit:
    """`exchange init`."""
    with _folder(arguments) as folder:
        folder.create(
            arguments.root, arguments.root_threshold, arguments.targets, arguments.targets_threshold, arguments.online
        )
        return _staged(arguments, folder, "Began a repository")


def delegate(arguments: Namespace) -> Exit:
    """`exchange delegate`."""
    with _folder(arguments) as folder:
        folder.delegate(arguments.body, arguments.keys, arguments.threshold)
        return _staged(arguments, folder, f"Delegated {arguments.body}/ to {counted(len(arguments.keys), 'key')}")


def publish(arguments: Namespace) -> Exit:
    """`exchange publish`."""
    with _folder(arguments) as folder:
        path = folder.publish(arguments.body, arguments.list_id, Path(arguments.bundle))
        return _staged(arguments, folder, f"Staged {path}")


def withdraw(arguments: Namespace) -> Exit:
    """`exchange withdraw`."""
    with _folder(arguments) as folder:
        folder.withdraw(arguments.body, arguments.list_id)
        return _staged(arguments, folder, f"Took {arguments.body}/{arguments.list_id}.bundle out")


def rotate(arguments: Namespace) -> Exit:
    """`exchange rotate`."""
    with _folder(arguments) as folder:
        removed = [_whole_id(folder, each) for each in arguments.remove]
        folder.rotate(arguments.role, arguments.add, removed, arguments.threshold)
        return _staged(arguments, folder, f"Changed the keys of {arguments.role}")


def sign(arguments: Namespace) -> Exit:
    """`exchange sign`."""
    with _folder(arguments) as folder:
        signed = folder.sign(Path(arguments.key), _passphrase(arguments))
        if not signed:
            raise ConfigurationError("nothing that is staged waits for a signature of this key")
        return _staged(arguments, folder, f"Signed {', '.join(signed)}")


def release(arguments: Namespace) -> Exit:
    """`exchange release`."""
    with _folder(arguments) as folder:
        versions = folder.release(Path(arguments.key), _passphrase(arguments), arguments.days)
    print_result(arguments, {"versions": versions}, f"Released: {_versions_text(versions)}.")
    return Exit.DONE


def show(arguments: Namespace) -> Exit:
    """`exchange show`."""
    with _folder(arguments) as folder:
        states = folder.states()
    print_rows(
        arguments,
        "roles",
        [_document(each) for each in states],
        table=lambda: _table(states, no_color=arguments.no_color),
        columns=_COLUMNS,
        flat=lambda row: row | {"keys": " ".join(row["keys"])},
    )
    return Exit.DONE


def subscribe(arguments: Namespace) -> Exit:
    """`exchange subscribe`."""
    root = Path(arguments.root).read_bytes()
    with _exchange() as exchange:
        version = exchange.begin_trust(Path(arguments.directory), root)
    print_result(
        arguments,
        {"trust_state": arguments.directory, "root_version": version},
        f"{arguments.directory} trusts the repository from root {version} on. A feed pulls it with:",
        'kind = "exchange"',
        f'trust_state = "{Path(arguments.directory).absolute()}"',
        'url = "https://..."   # or directory = "..."',
        'target = "BODY/LIST.bundle"',
    )
    return Exit.DONE


def pull(arguments: Namespace) -> Exit:
    """`exchange pull`."""
    with _exchange() as exchange:
        pulled = exchange.pull_to_file(
            Path(arguments.directory),
            arguments.source,
            arguments.target,
            Path(arguments.file),
            ca_file=arguments.ca_file,
        )
    size = len(pulled.bundle)
    document = {"file": arguments.file, "bytes": size, "versions": dict(pulled.versions)}
    sentence = f"Wrote {arguments.file}, {counted(size, 'byte')}: {_versions_text(pulled.versions)}."
    print_result(arguments, document, sentence, "Stage it with --format bundle.")
    return Exit.DONE


def _staged(arguments: Namespace, folder: Any, done: str) -> Exit:
    """Says what was done and whose signatures it waits for. Nothing of it is released."""
    waiting = [each for each in folder.states() if each.staged]
    missing = [
        f"  {each.role} {each.staged}: {each.signatures} of {each.threshold}, by any of "
        f"{', '.join(key[:_SHORT] for key in each.key_ids)}"
        for each in waiting
    ]
    document = {"staged": [_document(each) for each in waiting]}
    print_result(arguments, document, f"{done}. Signatures, before `exchange release`:", *missing)
    return Exit.DONE


def _whole_id(folder: Any, beginning: str) -> str:
    """The id of the one key that begins so."""
    found = {key for each in folder.states() for key in each.key_ids if key.startswith(beginning)}
    if len(found) != 1:
        raise ConfigurationError(f"{counted(len(found), 'key')} of the repository begin with {beginning}: name one")
    return str(found.pop())


def _document(state: Any) -> Document:
    return {
        "role": state.role,
        "version": state.version or None,
        "expires": None if state.expires is None else state.expires.isoformat(),
        "staged": state.staged or None,
        "signatures": state.signatures,
        "threshold": state.threshold,
        "keys": [key[:_SHORT] for key in state.key_ids],
    }


def _table(states: list[Any], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    rows: list[tuple[Cell, ...]] = [
        (
            each.role,
            str(each.version or ""),
            "" if each.expires is None else f"{each.expires:%Y-%m-%d}",
            str(each.staged or ""),
            f"{each.signatures} of {each.threshold}",
            ", ".join(key[:_SHORT] for key in each.key_ids),
        )
        for each in states
    ]
    columns = ("Role", "Version", "Expires", "Staged", "Signatures", "Keys")
    print_table(columns, rows, no_color=no_color, numbers=("Version", "Staged"))


def _versions_text(versions: Any) -> str:
    return ", ".join(f"{role} {version}" for role, version in versions.items())


def _passphrase(arguments: Namespace) -> Path | None:
    return Path(arguments.passphrase_file) if arguments.passphrase_file else None


@contextmanager
def _exchange() -> Iterator[Any]:
    """The operations, whose errors become ours."""
    exchange = operations("exchange")
    try:
        yield exchange
    except exchange.ExchangeError as error:
        raise RefusedHereError(f"{error.reason}: {error}") from None
    except (exchange.PublishingError, exchange.KeyFileError) as error:
        raise ConfigurationError(str(error)) from None


@contextmanager
def _folder(arguments: Namespace) -> Iterator[Any]:
    with _exchange() as exchange:
        yield exchange.ExchangeFolder(Path(arguments.directory))
