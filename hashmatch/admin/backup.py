"""`hashmatch-admin backup` and `restore`: what a server's store does not hold, in one file and back."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import counted, printable

from hashmatch.admin.documents import Document
from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations, server_config
from hashmatch.admin.output import print_result

if TYPE_CHECKING:
    from hashmatch.operations.backup_format import Contents

_OPEN_SECRETS = "It tells who acted and why (audit log), the names of lists and bodies, and addresses (configuration)."
_WITH_KEY = "SECRET: the sealing key is in it. Whoever has this file has the lists: keep it as you keep the key."
_WITHOUT_KEY = (
    "The sealing key is not in it: without the key, which you keep elsewhere, no list can be read or restored."
)


def backup(arguments: Namespace) -> Exit:
    """`backup`."""
    errors = operations("backup_format").BackupError
    config = server_config(arguments.config, arguments.settings)
    named = arguments.config or os.environ.get("HASHMATCH_CONFIG")
    try:
        made = operations("backup").make_backup(
            config,
            Path(arguments.file),
            settings_file=Path(named) if named else None,
            with_sealing_key=arguments.with_sealing_key,
        )
    except errors as error:
        return _refuse(error)
    document = {"file": arguments.file, "sha256": made.sha256, "bytes": made.size} | _document(made.contents)
    print_result(
        arguments,
        document,
        f"Backed up epoch {made.contents.epoch}: {counted(len(made.contents.files), 'file')}, {made.size:,} bytes.",
        f"SHA-256 {made.sha256}",
        _WITH_KEY if made.contents.has_sealing_key else _WITHOUT_KEY,
        _OPEN_SECRETS,
    )
    return Exit.DONE


def restore(arguments: Namespace) -> Exit:
    """`restore`."""
    errors = operations("backup_format").BackupError
    module = operations("restore")
    if not arguments.dry_run and not arguments.data_dir:
        raise ConfigurationError("say where to: --data-dir DIRECTORY, or --dry-run to verify the backup alone")
    path = Path(arguments.file)
    try:
        if arguments.dry_run:
            contents = module.read_backup(path, None)
        else:
            configuration = Path(arguments.configuration) if arguments.configuration else None
            contents = module.restore(path, Path(arguments.data_dir), configuration, force=arguments.force)
    except errors as error:
        return _refuse(error)
    document = {"dry_run": arguments.dry_run, "data_dir": arguments.data_dir} | _document(contents)
    print_result(arguments, document, *_sentences(arguments, contents))
    return Exit.DONE


def _sentences(arguments: Namespace, contents: Contents) -> list[str]:
    what = f"epoch {contents.epoch}: {counted(len(contents.files), 'file')}, {_size(contents):,} bytes"
    if arguments.dry_run:
        return [f"Whole: {what}.", _WITH_KEY if contents.has_sealing_key else _WITHOUT_KEY]
    said = [f"Restored {what}."]
    in_configuration = [file for file in contents.files if file.name.startswith("configuration/")]
    if in_configuration and not arguments.configuration:
        said.append("The configuration in it was left out; --configuration DIRECTORY writes it.")
    if not contents.has_sealing_key:
        said.append("Put the sealing key where the configuration says before you start the server.")
    return [*said, "Start the server: with administration, it fills an empty store from the archive."]


def _document(contents: Contents) -> Document:
    return {
        "epoch": contents.epoch,
        "hashmatch": contents.hashmatch,
        "sealing_key": contents.has_sealing_key,
        "files": [
            {"name": file.name, "bytes": file.size, "sha256": file.sha256, "secret": file.secret}
            for file in contents.files
        ],
    }


def _size(contents: Contents) -> int:
    return sum(file.size for file in contents.files)


def _refuse(error: Exception) -> Exit:
    print(f"hashmatch-admin: {printable(str(error))}", file=sys.stderr)
    return Exit.REFUSED
