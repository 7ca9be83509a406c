"""`hashmatch-admin pki`: certificates for a trial, written to files."""

from __future__ import annotations

import datetime
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hashmatch_client import ConfigurationError

from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations
from hashmatch.admin.output import print_result

_HOSTS = ("localhost", "127.0.0.1")


def init(arguments: Namespace) -> Exit:
    """`pki init`."""
    with _trial(arguments) as trial:
        server, callers = trial.make(arguments.domain, arguments.hosts or _HOSTS)
        authorities = {kind: str(trial.authority_file(kind).absolute()) for kind in ("server", "client", "operator")}
    settings = {
        "certificate_file": str(server.certificate.absolute()),
        "key_file": str(server.key.absolute()),
        "client_ca_file": authorities["client"],
        "admin_client_ca_file": authorities["operator"],
    }
    operator = next(each for each in callers if "/operators/" in each.uri)
    environment = {
        "HASHMATCH_CA_FILE": authorities["server"],
        "HASHMATCH_CERT_FILE": str(operator.certificate.absolute()),
        "HASHMATCH_KEY_FILE": str(operator.key.absolute()),
    }
    print_result(
        arguments,
        {"tls": settings, "environment": environment, "callers": [each.uri for each in callers]},
        "# The server's configuration:",
        "[tls]",
        *(f'{name} = "{value}"' for name, value in settings.items()),
        "",
        f"# To administer it as {operator.certificate.stem}:",
        *(f"export {name}={value}" for name, value in environment.items()),
        "",
        "# Who has a certificate:",
        *(each.uri for each in callers),
    )
    return Exit.DONE


def issue(arguments: Namespace) -> Exit:
    """`pki issue`."""
    is_server = arguments.kind == "server"
    if arguments.uri and is_server:
        raise ConfigurationError("--uri is for clients and operators: a server has host names")
    if arguments.hosts and not is_server:
        raise ConfigurationError("--host is for servers: a caller has one URI and no other name")
    with _trial(arguments) as trial:
        issued = (
            trial.issue_to_server(arguments.name, arguments.hosts)
            if is_server
            else trial.issue_to_caller(arguments.kind, arguments.name, arguments.uri or "")
        )
    document = {"certificate_file": str(issued.certificate), "key_file": str(issued.key), "uri": issued.uri or None}
    whose = f" for {issued.uri}" if issued.uri else ""
    print_result(arguments, document, f"Wrote {issued.certificate} and {issued.key}{whose}.")
    return Exit.DONE


@contextmanager
def _trial(arguments: Namespace) -> Iterator[Any]:
    pki = operations("pki")
    now, lifetime = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=arguments.days)
    try:
        yield pki.TrialPki(Path(arguments.directory), now=now, lifetime=lifetime)
    except pki.PkiError as error:
        raise ConfigurationError(str(error)) from None
