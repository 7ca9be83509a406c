"""Makes the secrets of a trial: an authority of one's own with its certificates, the sealing key, the store's users.

`python -m deploy.compose.prepare` writes them to `deploy/compose/secrets`, and `deploy/compose/.env`, from which the
containers get the group that may read them. The authority's own key is thrown away. For anything but a trial, take
certificates from your own authority.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.valkey.users import make_users
from hashmatch.trust.pki import Authority
from hashmatch.trust.sealing import generate_key_file

HERE = Path(__file__).parent
_VALIDITY = datetime.timedelta(days=90)
# What the containers share with whoever made the files: to read them, and no more.
_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750


class Subject(NamedTuple):
    """Who a certificate is for. Servers have host names, clients the one URI by which they are known."""

    name: str
    hosts: tuple[str, ...] = ()
    uri: str = ""


SUBJECTS = (
    Subject("server", hosts=("hashmatch", "localhost")),
    Subject("store", hosts=("valkey", "localhost")),
    Subject("uploads", uri="spiffe://example.org/uploads"),
    *(Subject(person, uri=f"spiffe://example.org/operators/{person}") for person in ("alice", "bob", "carol")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.compose.prepare", description="Make a trial's secrets.")
    parser.add_argument("directory", nargs="?", type=Path, default=HERE, help="beside the compose file by default")
    directory = parser.parse_args(argv).directory
    if (directory / "secrets").exists():
        sys.stderr.write(f"{directory / 'secrets'} exists; remove it to begin anew\n")
        return 1
    prepare(directory)
    return 0


def prepare(directory: Path) -> None:
    """Write `secrets` and `.env` into `directory`. Raises `OSError`, `FileExistsError` if there are secrets."""
    target = directory / "secrets"
    target.mkdir(mode=0o700, parents=True)
    make_users(target)
    generate_key_file(target / "sealing.key")
    _certificates(target, datetime.datetime.now(datetime.UTC))
    for file in target.iterdir():
        file.chmod(_FILE_MODE)
    target.chmod(_DIRECTORY_MODE)
    (directory / ".env").write_text(f"SECRETS_GROUP={os.getgid()}\n", "utf-8")


def _certificates(target: Path, now: datetime.datetime) -> None:
    authority = Authority.create("hashmatch trial authority", now=now, lifetime=_VALIDITY)
    _write(target / "ca.pem", authority.certificate)
    for subject in SUBJECTS:
        if subject.uri:
            issued = authority.issue_to_caller(subject.uri, now=now, lifetime=_VALIDITY)
        else:
            issued = authority.issue_to_server((*subject.hosts, "127.0.0.1"), now=now, lifetime=_VALIDITY)
        _write(target / f"{subject.name}.pem", issued.certificate)
        _write(target / f"{subject.name}.key", issued.key)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main())
