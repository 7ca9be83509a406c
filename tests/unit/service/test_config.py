"""Settings: which source wins, what is refused and how it is reported, and that no secret is shown."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import pytest

from hashmatch.service.addresses import mask_url
from hashmatch.service.command_line import build_parser, flag_settings
from hashmatch.service.config import Config
from hashmatch.service.config_loader import ConfigurationError, LoadedConfig, load
from hashmatch.service.config_problems import problems
from hashmatch.service.config_schema import known_settings
from hashmatch.service.config_serving import StoreSection, TlsSection
from hashmatch.service.config_text import reference, show

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"
TLS = {
    "HASHMATCH_TLS__CERTIFICATE_FILE": "server.pem",
    "HASHMATCH_TLS__KEY_FILE": "server.key",
    "HASHMATCH_TLS__CLIENT_CA_FILE": "clients.pem",
    "HASHMATCH_ACCESS__ADMINISTRATION": "spiffe://example.org/operator/a",
}


def loaded(*arguments: str, environ: dict[str, str] | None = None) -> LoadedConfig:
    namespace = build_parser().parse_args(arguments)
    return load(file=namespace.config, environ=environ or {}, flags=flag_settings(namespace))


def refused(*arguments: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(*arguments, environ=environ)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server.toml"


def test_defaults_are_valid_and_from_nowhere() -> None:
    result = loaded()
    assert result.config == Config()
    assert result.origins == {}
    assert list(problems(Config())) == []


def test_flags_beat_the_environment_which_beats_the_file_which_beats_defaults(file: Path) -> None:
    file.write_text('[server]\nlisten = "127.0.0.1:1"\nadmin_listen = "127.0.0.1:2"\ngrace_seconds = 3\n')
    environ = {"HASHMATCH_SERVER__LISTEN": "127.0.0.1:11", "HASHMATCH_SERVER__ADMIN_LISTEN": "127.0.0.1:12"}
    result = loaded("--config", str(file), "--listen", "127.0.0.1:21", environ=environ)
    assert result.config.server.listen == "127.0.0.1:21"
    assert result.config.server.admin_listen == "127.0.0.1:12"
    assert result.config.server.grace_seconds == 3.0
    assert result.config.server.reflection is True
    assert result.origins == {
        "server.listen": "--listen",
        "server.admin_listen": "HASHMATCH_SERVER__ADMIN_LISTEN",
        "server.grace_seconds": str(file),
    }


def test_set_beats_the_direct_flag_and_the_last_set_wins() -> None:
    result = loaded("--log-level", "error", "--set", "logs.level=debug", "--set", "logs.level=warning")
    assert result.config.logs.level == "warning"
    assert result.origins["logs.level"] == "--set"


def test_the_environment_can_name_the_file_and_a_flag_overrides_that(file: Path, tmp_path: Path) -> None:
    file.write_text("[vetting]\napprovals_required = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[vetting]\napprovals_required = 3\n")
    environ = {"HASHMATCH_CONFIG": str(file)}
    assert loaded(environ=environ).config.vetting.approvals_required == 1
    assert loaded("--config", str(other), environ=environ).config.vetting.approvals_required == 3


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("server.reflection=false", "reflection", False),
        ("server.reflection=TRUE", "reflection", True),
        ("server.maximum_batch_items=10", "maximum_batch_items", 10),
        ("server.grace_seconds=0.5", "grace_seconds", 0.5),
        ("server.admin_listen=", "admin_listen", ""),
    ],
)
def test_text_is_read_by_the_type_of_the_setting(text: str, key: str, value: object) -> None:
    assert getattr(loaded("--set", text).config.server, key) == value


def test_lists_are_separated_by_commas() -> None:
    environ = TLS | {"HASHMATCH_ACCESS__MATCHING": "spiffe://a/b, spiffe://a/c,"}
    assert loaded(environ=environ).config.access.matching == ("spiffe://a/b", "spiffe://a/c")


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (("--set", "server.listn=x"), {}, "--set: server.listn: there is no such setting; server.listen?"),
        (("--set", "listen=x"), {}, "--set listen: expected SECTION.KEY=VALUE"),
        (("--set", "server.listen"), {}, "--set server.listen: expected SECTION.KEY=VALUE"),
        ((), {"HASHMATCH_SERVER__LISTN": "x"}, "HASHMATCH_SERVER__LISTN: server.listn: there is no such setting"),
        ((), {"HASHMATCH_LISTEN": "x"}, "HASHMATCH_LISTEN: listen: there is no such setting"),
        ((), {"HASHMATCH_STORE__": "x"}, "HASHMATCH_STORE__: store.: there is no such setting"),
        (("--set", "server.grace_seconds=nan"), {}, "server.grace_seconds: expected number, 0 to 600"),
        (("--set", "server.grace_seconds=inf"), {}, "server.grace_seconds: expected number, 0 to 600"),
        (("--set", "server.grace_seconds=-1"), {}, "server.grace_seconds: expected number, 0 to 600"),
        (("--set", "server.maximum_batch_items=1001"), {}, "expected whole number, 1 to 1000"),
        (("--set", "server.maximum_batch_items=1.5"), {}, "expected whole number, 1 to 1000"),
        (("--set", "server.reflection=maybe"), {}, "expected true or false"),
        (("--set", "server.maximum_share_per_caller=0"), {}, "expected number, more than 0, at most 1"),
        (("--log-level", "loud"), {}, '--log-level: logs.level: expected "debug" or'),
        (("--set", "store.namespace=a:b"), {}, "store.namespace: expected text of the form"),
        (("--data-dir", ""), {}, "server.data_dir: expected text, not empty"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source(
    arguments: tuple[str, ...], environ: dict[str, str], expected: str
) -> None:
    assert expected in refused(*arguments, environ=environ)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[server]\nlistn = 1\n", "server.listn: there is no such setting; server.listen?"),
        ("[sever]\nlisten = 'x'\n", "sever.listen: there is no such setting; server.listen?"),
        ("listen = 'x'\n", "listen: belongs into a section"),
        ("[server]\nlisten = 5\n", "server.listen: expected text"),
        ("[server]\nreflection = 'true'\n", "server.reflection: expected true or false"),
        ("[server]\nlisten = 2026-01-01\n", "server.listen: expected text"),
        ("[access]\nmatching = 'a'\n", "access.matching: expected list of texts"),
        ("[server\n", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(file: Path, content: str, expected: str) -> None:
    file.write_text(content)
    message = refused("--config", str(file))
    assert message.startswith(str(file))
    assert expected in message


def test_a_file_that_cannot_be_read_is_an_error(file: Path) -> None:
    assert "No such file" in refused("--config", str(file))
    file.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refused("--config", str(file))


def test_all_problems_are_reported_at_once() -> None:
    message = refused("--set", "a.b=1", "--log-level", "loud", environ={"HASHMATCH_X": "1"})
    assert len(message.splitlines()) == 3


def test_variables_of_the_client_and_of_kubernetes_are_left_alone() -> None:
    environ = {
        "HASHMATCH_TARGET": "localhost:1",
        "HASHMATCH_APPROVER_KEY": "x",
        "HASHMATCH_CA_FILE": "x",
        "HASHMATCH_CERT_FILE": "x",
        "HASHMATCH_KEY_FILE": "x",
        "HASHMATCH_TIMEOUT": "5",
        "HASHMATCH_PORT": "tcp://10.0.0.1:50051",
        "HASHMATCH_PORT_50051_TCP": "tcp://10.0.0.1:50051",
        "HASHMATCH_PORT_50051_TCP_ADDR": "10.0.0.1",
        "HASHMATCH_SERVICE_HOST": "10.0.0.1",
        "HASHMATCH_SERVICE_PORT": "50051",
        "HASHMATCH_SERVICE_PORT_GRPC": "50051",
        "HASHMATCH_ADMIN_SERVICE_HOST": "10.0.0.1",
        "PATH": "/bin",
    }
    assert loaded(environ=environ).config == Config()


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "server.internal:1", "127.0.0.1.evil.example:1"]
)
@pytest.mark.parametrize("key", ["server.listen", "server.admin_listen"])
def test_plaintext_is_refused_where_others_can_connect(key: str, listen: str) -> None:
    assert f"{key}: needs tls.certificate_file" in refused("--set", f"{key}={listen}")
    assert loaded("--set", f"{key}={listen}", environ=TLS)


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "localhost:1", "unix:/run/a", "unix:///run/a"]
)
def test_plaintext_is_allowed_on_this_machine(listen: str) -> None:
    assert loaded("--listen", listen).config.server.listen == listen


@pytest.mark.parametrize(
    "listen", ["", "x", ":1", "a:b", "a:-1", "a:65536", "::1:5", "[::1:5", "[x]:5", "unix:", "http://a:1"]
)
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    assert "--listen: server.listen: " in refused("--listen", listen)


def test_two_listeners_cannot_share_an_address() -> None:
    assert "server.admin_listen: is the same address" in refused("--admin-listen", "127.0.0.1:50051")
    assert loaded("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")


def test_the_metrics_are_on_tcp() -> None:
    assert "metrics.listen: must be HOST:PORT" in refused("--metrics-listen", "unix:/a")
    assert loaded("--metrics-listen", "0.0.0.0:9464")


@pytest.mark.parametrize("missing", ["KEY_FILE", "CLIENT_CA_FILE", "CERTIFICATE_FILE"])
def test_tls_is_complete_or_absent(missing: str) -> None:
    environ = {key: value for key, value in TLS.items() if key != f"HASHMATCH_TLS__{missing}"}
    assert "tls." in refused(environ=environ)


def test_administration_needs_other_clients_than_matching() -> None:
    environ = {key: value for key, value in TLS.items() if "ACCESS" not in key}
    assert "access.administration: name who may administer" in refused(environ=environ)
    same = environ | {"HASHMATCH_TLS__ADMIN_CLIENT_CA_FILE": "clients.pem"}
    assert "access.administration" in refused(environ=same)
    assert loaded(environ=environ | {"HASHMATCH_TLS__ADMIN_CLIENT_CA_FILE": "operators.pem"})
    assert loaded("--admin-listen", "", environ=environ)


def test_access_lists_mean_nothing_without_tls() -> None:
    assert "access.matching: needs TLS" in refused("--set", "access.matching=loopback:anonymous")


def test_a_store_of_ones_own_needs_a_sealing_key() -> None:
    assert "sealing.key_file: is required" in refused("--store-url", "redis://localhost")
    assert loaded("--store-url", "redis://localhost", "--set", "sealing.key_file=k").config.store.embedded is False


@pytest.mark.parametrize(
    "text", ["store.username=a", "store.password_file=a", "store.url=localhost:6379", "tls.key_file=a"]
)
def test_settings_that_do_not_fit_together_are_refused(text: str) -> None:
    assert text.partition("=")[0] in refused("--set", text)


def test_a_user_needs_a_password() -> None:
    message = refused("--store-url", "redis://h", "--set", "store.username=a", "--set", "sealing.key_file=k")
    assert message == "store.password_file: is required with store.username"


def test_messages_must_hold_the_largest_column() -> None:
    assert "server.maximum_message_bytes" in refused("--set", f"server.maximum_message_bytes={2 << 20}")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@host/0",
        "rediss://user:s3cret@host:6379/0",
        "redis://user:s3cret/with@slash@host",
        "redis+sentinel://user:s3cret@a:1,b:2/name",
        "unix://user:s3cret@/run/valkey.sock",
        "redis://host/0?password=s3cret",
        "redis://host/0?db=1&password=s3cret",
    ],
)
def test_a_password_in_the_url_is_refused_and_never_shown(url: str) -> None:
    message = refused("--store-url", url, "--set", "sealing.key_file=k")
    assert "put it into store.password_file" in message
    config = Config(store=StoreSection(url=url))
    for text in (message, repr(config), str(config), show(LoadedConfig(config, {"store.url": "--store-url"}))):
        assert "s3cret" not in text
        assert "***" in text


@pytest.mark.parametrize("url", ["", "redis://host:6379/0", "unix:///run/valkey.sock", "redis://user@host/0"])
def test_a_url_without_password_stays_as_it_is(url: str) -> None:
    assert mask_url(url) == url


def test_what_show_prints_loads_to_the_same(file: Path) -> None:
    environ = TLS | {"HASHMATCH_ACCESS__MATCHING": 'spiffe://a/"b",c\\d', "HASHMATCH_SERVER__DATA_DIR": "a\x7f\té🎉"}
    first = loaded("--set", "vetting.approvals_required=1", environ=environ)
    file.write_text(show(first), "utf-8")
    assert loaded("--config", str(file)).config == first.config


def test_show_tells_where_a_value_comes_from() -> None:
    text = show(loaded("--listen", "127.0.0.1:7", environ={"HASHMATCH_LOGS__LEVEL": "debug"}))
    assert 'listen = "127.0.0.1:7"  # --listen\n' in text
    assert 'level = "debug"  # HASHMATCH_LOGS__LEVEL\n' in text
    assert text.count("#") == 2
    assert tomllib.loads(text).keys() == {known.section for known in known_settings().values()}


def test_the_document_is_the_reference() -> None:
    assert DOCUMENT.read_text("utf-8") == reference(), "run: hashmatch-server config reference > docs/configuration.md"


def test_every_setting_is_described_and_every_number_has_a_range() -> None:
    for known in known_settings().values():
        assert known.description.endswith("."), known.key
        if known.plain_type in (int, float):
            assert " to " in known.values or "at most" in known.values, known.key


def test_commands_and_their_default() -> None:
    parse = build_parser().parse_args
    assert parse([]).command == "serve"
    assert parse(["serve"]).command == "serve"
    assert parse(["config", "show"]).command == "config-show"
    assert parse(["--set", "a.b=c", "config", "reference"]).command == "config-reference"
    assert parse(["healthcheck"]).command == "healthcheck"
    assert parse(["keygen", "k"]).file == Path("k")


@pytest.mark.parametrize("arguments", [["config"], ["keygen"], ["sevre"], ["--conf", "x"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(arguments)
    assert caught.value.code == 2
    assert "usage: hashmatch-server" in capsys.readouterr().err


def test_sections_cannot_be_changed() -> None:
    for section, _ in itertools.groupby(known.section for known in known_settings().values()):
        with pytest.raises(AttributeError):
            setattr(getattr(Config(), section), next(iter(known_settings())).partition(".")[2], "x")
    with pytest.raises(AttributeError):
        TlsSection().key_file = "x"  # type: ignore[misc]


def test_workers_need_a_port_to_share() -> None:
    assert loaded("--workers", "4").config.server.workers == 4
    assert "server.workers" in refused("--workers", "2", "--listen", "unix:/run/hashmatch.sock")
    assert "server.workers" in refused("--workers", "0")


@pytest.mark.parametrize(
    ("rights", "certificate", "refuses"),
    [("auto", "", False), ("auto", "server.pem", True), ("allow", "server.pem", False), ("refuse", "", True)],
)
def test_a_user_of_the_store_with_too_many_rights_is_refused_where_there_is_tls(rights, certificate, refuses):
    config = Config(store=StoreSection(excessive_rights=rights), tls=TlsSection(certificate_file=certificate))
    assert config.refuses_excessive_rights is refuses
