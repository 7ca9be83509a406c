"""The compose file is one, and its parts find each other: files, names, ports, users and certificates."""

import re
import shlex
import tomllib
from pathlib import Path

import compose_pydantic
import pytest
import yaml
from cryptography import x509

from deploy.compose.prepare import prepare

DEPLOY = Path(__file__).parents[2] / "deploy"
TEXT = (DEPLOY / "compose/compose.yaml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
SETTINGS = tomllib.loads((DEPLOY / "compose/hashmatch.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compose")
    prepare(directory)
    return directory


def binds(service):
    """Where files of the host appear in a service: path in the container, and source as written."""
    volumes = (volume.split(":") for volume in SERVICES[service].get("volumes", ()))
    return {parts[1]: parts[0] for parts in volumes if parts[0].startswith(".")}


def test_it_is_what_the_specification_allows():
    stated = {name: value for name, value in COMPOSE.items() if not name.startswith("x-")}
    compose_pydantic.ComposeSpecification.model_validate(stated)
    with pytest.raises(ValueError, match="extra_forbidden"):
        compose_pydantic.ComposeSpecification.model_validate(stated | {"services": {"a": {"read_onyl": True}}})


def test_every_file_that_is_mounted_is_there_or_is_made(prepared):
    for service in SERVICES:
        for source in binds(service).values():
            made = source.removeprefix("./")
            home = prepared if made.startswith("secrets/") else DEPLOY / "compose"
            assert (home / made).exists(), source


def test_every_volume_network_and_variable_is_stated(prepared):
    for name, service in SERVICES.items():
        volumes = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        assert {volume for volume in volumes if not volume.startswith(".")} <= COMPOSE["volumes"].keys(), name
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
    stated = dict(line.split("=") for line in (prepared / ".env").read_text().splitlines())
    assert set(re.findall(r"\$\{([A-Z_]+)", TEXT)) == stated.keys()


def test_settings_name_files_that_are_mounted():
    mounted = binds("hashmatch")
    assert SERVICES["hashmatch"]["environment"]["HASHMATCH_CONFIG"] in mounted
    named = re.findall(r'"(/run/[^"]+)"|ssl_ca_certs=([^"]+)"', (DEPLOY / "compose/hashmatch.toml").read_text("utf-8"))
    assert named
    assert {max(file) for file in named} <= mounted.keys()
    mounted = binds("valkey")
    for file in re.findall(
        r"^(?:tls-\S+-file|aclfile) (\S+)", (DEPLOY / "valkey/valkey.conf").read_text(), re.MULTILINE
    ):
        assert file in mounted


def test_the_server_finds_the_store_by_a_name_in_its_certificate(prepared):
    host, port = re.match(r"rediss://([^:]+):(\d+)/", SETTINGS["store"]["url"]).groups()
    assert host in SERVICES
    assert set(SERVICES[host]["networks"]) & set(SERVICES["hashmatch"]["networks"])
    assert f"tls-port {port}\n" in (DEPLOY / "valkey/valkey.conf").read_text("utf-8")
    certificate = x509.load_pem_x509_certificate((prepared / "secrets/store.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert host in names.get_values_for_type(x509.DNSName)
    users = (prepared / "secrets/users.acl").read_text("utf-8")
    assert f"user {SETTINGS['store']['username']} on" in users


def test_prometheus_finds_the_server_and_the_rules_and_grafana_finds_prometheus():
    config = yaml.safe_load((DEPLOY / "compose/prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    ((target,),) = [each["targets"] for each in job["static_configs"]]
    host, _, port = target.partition(":")
    assert SETTINGS["metrics"]["listen"].endswith(f":{port}")
    assert set(SERVICES[host]["networks"]) & set(SERVICES["prometheus"]["networks"])
    rules = binds("prometheus")
    (pattern,) = config["rule_files"]
    (place,) = [place for place in rules if pattern.startswith(f"{place}/")]
    assert list((DEPLOY / "compose" / rules[place]).resolve().glob(pattern.removeprefix(f"{place}/")))
    (source,) = yaml.safe_load((DEPLOY / "compose/grafana/datasources.yml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "compose/grafana/dashboards.yml").read_text("utf-8"))["providers"]
    boards = (DEPLOY / "compose" / binds("grafana")[provider["options"]["path"]]).resolve()
    for board in boards.glob("*.json"):
        assert f'"uid": "{source["uid"]}"' in board.read_text("utf-8")


def test_published_ports_are_those_of_the_settings_and_on_loopback_alone():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    listened = {SETTINGS["server"]["listen"], SETTINGS["server"]["admin_listen"], SETTINGS["metrics"]["listen"]}
    ports = {port.rpartition(":")[2] for port in SERVICES["hashmatch"]["ports"]}
    assert ports == {address.rpartition(":")[2] for address in listened}


def test_services_are_confined_checked_and_given_time_to_stop():
    for service in SERVICES.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
    check = SERVICES["hashmatch"]["healthcheck"]["test"]
    assert check == ["CMD", *shlex.split("python -m hashmatch.service.probe readyz")]
    assert int(SERVICES["hashmatch"]["stop_grace_period"].rstrip("s")) > SETTINGS["server"]["grace_seconds"]
