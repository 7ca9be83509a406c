"""The command line of `hashmatch-server`: what can be asked for, not how it is done."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from hashmatch.service.addresses import mask_url
from hashmatch.service.config_loader import Setting, flag

# Flags for what is most often set by hand; every other setting goes through --set.
_DIRECT = {
    "listen": ("server.listen", "ADDRESS", "where matching listens (HOST:PORT or unix:PATH)"),
    "admin_listen": ("server.admin_listen", "ADDRESS", 'where administration listens; "" disables it'),
    "workers": ("server.workers", "N", "how many processes answer"),
    "data_dir": ("server.data_dir", "DIRECTORY", "what this server keeps itself"),
    "store_url": ("store.url", "URL", "the Redis or Valkey to use; without one, an embedded Valkey is started"),
    "metrics_listen": ("metrics.listen", "ADDRESS", 'where /metrics, /healthz and /readyz are; "" disables them'),
    "log_level": ("logs.level", "LEVEL", "debug, info, warning or error"),
    "log_format": ("logs.format", "FORMAT", "json or console"),
}

_URL = re.compile(r"[a-z]+://\S+")

_DESCRIPTION = """\
Answers whether hashes are on a vetted list. Without arguments it serves on loopback with an embedded Valkey.
"""

_EPILOGUE = """\
A setting comes from the first that gives it: a flag, the environment (HASHMATCH_SECTION__KEY), the file, the default.
`hashmatch-server config reference` describes every setting.

exit status: 0 done or healthy, 1 failed or not healthy, 2 wrong usage or configuration
"""


class _Parser(argparse.ArgumentParser):
    """Quotes what it does not understand without the passwords in it."""

    def error(self, message: str) -> NoReturn:
        super().error(_URL.sub(lambda url: mask_url(url[0]), message))


def build_parser() -> argparse.ArgumentParser:
    """The parser. Its result has `command`: serve, config-show, config-reference, keygen, bundle-export, healthcheck.

    With keygen it also has `file`, with bundle-export `list_id` and `file`.
    """
    parser = _Parser(
        prog="hashmatch-server",
        description=_DESCRIPTION,
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command="serve")
    settings = parser.add_argument_group("settings, before the command")
    settings.add_argument("--config", metavar="FILE", type=Path, help="a TOML file (or HASHMATCH_CONFIG)")
    settings.add_argument(
        "--set", metavar="SECTION.KEY=VALUE", action="append", default=[], dest="set", help="any setting; repeatable"
    )
    for name, (key, metavar, text) in _DIRECT.items():
        settings.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=f"{text} [{key}]")

    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _command(commands, "serve", "serve", "run the server until SIGTERM or SIGINT (the default)")
    config = commands.add_parser("config", help="look at the configuration", allow_abbrev=False)
    views = config.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _command(views, "show", "config-show", "print the configuration in force as TOML, with the source of each value")
    _command(views, "reference", "config-reference", "print the reference of all settings as Markdown")
    keygen = _command(commands, "keygen", "keygen", "make a sealing key; an existing file is never overwritten")
    keygen.add_argument("file", metavar="FILE", type=Path, help="where to write it, with mode 0600")
    bundle = commands.add_parser("bundle", help="hand a list to another hashmatch", allow_abbrev=False)
    bundles = bundle.add_subparsers(title="commands", metavar="COMMAND", required=True)
    export = _command(
        bundles,
        "export",
        "bundle-export",
        "write a list to a file for others to stage; with the embedded store, stop the server first",
    )
    export.add_argument("list_id", metavar="LIST", help="the list")
    export.add_argument("file", metavar="FILE", type=Path, help="where to write it, with mode 0600; it must not exist")
    _command(commands, "healthcheck", "healthcheck", "ask the running server whether it is ready, for probes")
    return parser


def flag_settings(arguments: argparse.Namespace) -> Iterator[Setting]:
    """The settings that flags give, those of `--set` last. Raises `ConfigurationError` for a malformed one."""
    for name, (key, _, _) in _DIRECT.items():
        value = getattr(arguments, name)
        if value is not None:
            yield Setting(key, value, f"--{name.replace('_', '-')}", is_text=True)
    for text in arguments.set:
        yield flag(text)


def _command(commands: argparse._SubParsersAction[_Parser], name: str, command: str, text: str) -> _Parser:
    parser = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.", allow_abbrev=False)
    parser.set_defaults(command=command)
    return parser
