"""Makes the store's users: a password for each, and the ACL file that knows the passwords' digests.

`python -m deploy.valkey.users DIRECTORY` writes `users.acl`, for the store, and `reader-password`, `writer-password`
and `collector-password`, each for those who go by that name. Nothing that exists is overwritten.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

USERS = ("reader", "writer", "collector")
TEMPLATE = Path(__file__).with_name("users.acl")
_PASSWORD_BYTES = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.valkey.users", description="Make the store's users.")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where to write; made with mode 0700")
    directory = parser.parse_args(argv).directory
    try:
        make_users(directory)
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 1
    return 0


def make_users(directory: Path) -> None:
    """Write the files into `directory`, with mode 0600. Raises `OSError`, `FileExistsError` before anything changes."""
    passwords = {user: secrets.token_urlsafe(_PASSWORD_BYTES) for user in USERS}
    acl = "".join(f"{line}\n" for line in TEMPLATE.read_text("utf-8").splitlines() if line and not line.startswith("#"))
    for user, password in passwords.items():
        acl = acl.replace(f"{user.upper()}_PASSWORD_SHA256", hashlib.sha256(password.encode()).hexdigest())
    contents = {"users.acl": acl} | {f"{user}-password": f"{password}\n" for user, password in passwords.items()}
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in contents:
        if (directory / name).exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(directory / name))
    for name, text in contents.items():
        with os.fdopen(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main())
