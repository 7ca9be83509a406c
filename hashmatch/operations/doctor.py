"""`hashmatch-admin doctor`: examines a server's configuration, files, certificates, store, clock and lists.

It reads and asks, and changes nothing; see `store.inspection` on how permissions are tried. It works whether or not
server and store are running.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from hashmatch.ingest.feeds.definition import FeedDefinitionError
from hashmatch.model.clock import Clock
from hashmatch.operations.access import data_directory, load_config, open_store
from hashmatch.operations.certificate_checks import check_certificates, check_store_connection
from hashmatch.operations.file_checks import check_data_directory, check_sealing_keys, check_secrecy
from hashmatch.operations.findings import Area, Finding
from hashmatch.operations.list_checks import check_lists
from hashmatch.operations.store_checks import check_store
from hashmatch.service.config import Config
from hashmatch.service.config_loader import ConfigurationError
from hashmatch.service.feeds import feed_definitions
from hashmatch.service.secrets import SecretError
from hashmatch.trust.sealing import SealingKeyError

_CONFIGURATION = Area("configuration")
_STORE = Area("store")


def examine(file: str | None, settings: Iterable[str], clock: Clock) -> Iterator[Finding]:
    """The findings, in the order in which they are best mended. `settings` are those of `--set`."""
    try:
        config = load_config(file, settings).config
    except ConfigurationError as error:
        for problem in error.problems:
            yield _CONFIGURATION.error(problem, "docs/configuration.md has what may be set")
        return
    yield from _check_configuration(config)
    data_dir = data_directory(config)
    yield from check_data_directory(config, data_dir)
    yield from check_sealing_keys(config, data_dir)
    yield from check_certificates(config.tls, clock)
    yield from check_store_connection(config.store.url, clock)
    if config.store.password_file:
        yield from check_secrecy(_STORE, "store.password_file", Path(config.store.password_file))
    try:
        store = open_store(config)
    except SealingKeyError:
        yield _STORE.note("it is not looked at without the sealing key")
        return
    except SecretError as error:
        yield _STORE.error(
            str(error), "put the password into the first line of the file, readable for the server's user"
        )
        return
    if store is None:
        yield _STORE.note("the embedded store never ran here", "start the server once")
        return
    with closing(store):
        yield from check_store(config, store)
        yield from check_lists(config, store, clock)


def _check_configuration(config: Config) -> Iterator[Finding]:
    try:
        feed_definitions(config)
    except FeedDefinitionError as error:
        yield _CONFIGURATION.error(str(error), "docs/feeds.md has what a feed may say")
    else:
        yield _CONFIGURATION.well("every setting exists, and they fit together")
    if not config.metrics.listen:
        yield _CONFIGURATION.warning(
            "metrics.listen is empty: there are no probes, no metrics and no alerts",
            "set it, on an address that only Prometheus and probes reach",
        )
