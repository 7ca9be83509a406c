"""The client that the command line and the environment describe."""

from __future__ import annotations

import os
from argparse import Namespace

from hashmatch_client._answers import SaveAnswer
from hashmatch_client._options import Connection
from hashmatch_client._sync import HashmatchClient


def connect(arguments: Namespace, save_answers: SaveAnswer | None = None) -> HashmatchClient:
    """A client; an option goes before the variable of the same name."""
    given = {
        "HASHMATCH_TARGET": arguments.target,
        "HASHMATCH_CA_FILE": arguments.ca_file,
        "HASHMATCH_CERT_FILE": arguments.cert_file,
        "HASHMATCH_KEY_FILE": arguments.key_file,
        "HASHMATCH_TIMEOUT": str(arguments.timeout) if arguments.timeout is not None else None,
        "HASHMATCH_PURPOSE": arguments.purpose,
    }
    connection = Connection.from_environment({**os.environ, **{k: v for k, v in given.items() if v is not None}})
    return HashmatchClient(
        connection.target,
        tls=connection.tls,
        timeout=connection.timeout,
        purpose=connection.purpose,
        save_answers=save_answers,
    )
