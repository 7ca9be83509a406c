"""What is deployed fits the code: settings, ports, probes, users and pins."""

import re
import shutil
import tempfile
import tomllib
from contextlib import closing
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.valkey.users import make_users
from hashmatch.service.config_loader import load
from hashmatch.store.budgets import BudgetStore, Settlement
from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.keys import Keys
from hashmatch.trust.policy import parse_policy
from hashmatch.trust.sealing import KEY_SIZE, SealingKey

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted([*DEPLOY.glob("kubernetes/**/*.yaml"), *DEPLOY.glob("valkey/*.yaml")])
OBJECTS = [
    (file, each)
    for file in MANIFESTS
    for each in yaml.safe_load_all(file.read_text("utf-8"))
    if each["kind"] not in ("Kustomization", "ServiceMonitor")
]
PODS = [each["spec"]["template"]["spec"] for _, each in OBJECTS if each["kind"] in ("Deployment", "StatefulSet")]


POLICIES = sorted(DEPLOY.glob("**/policy.toml"))


@pytest.mark.parametrize("file", sorted({*DEPLOY.glob("**/*.toml")} - {*POLICIES}), ids=str)
def test_settings_exist_and_fit_together(file):
    load(file=file, environ={})


@pytest.mark.parametrize("file", POLICIES, ids=str)
def test_policies_are_policies_and_name_the_callers_of_the_settings(file):
    named = set(parse_policy(file.read_text("utf-8")).by_identity)
    admitted = set(load(file=DEPLOY / "compose/hashmatch.toml", environ={}).config.access.matching)
    assert admitted <= named


@pytest.mark.parametrize(("file", "each"), OBJECTS, ids=lambda value: getattr(value, "stem", ""))
def test_objects_are_those_of_kubernetes(file, each):
    kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_pods_are_confined():
    assert len(PODS) == 3
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ["server", "administration"])
def test_probes_and_ports_are_those_of_the_settings(name):
    config = load(file=DEPLOY / f"kubernetes/base/{name}.toml", environ={}).config
    pod = yaml.safe_load((DEPLOY / f"kubernetes/base/{name}.yaml").read_text("utf-8"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listeners = {"matching": config.server.listen, "metrics": config.metrics.listen}
    if config.server.admin_listen:
        listeners["administration"] = config.server.admin_listen
    assert ports == {name: int(address.rpartition(":")[2]) for name, address in listeners.items()}
    paths = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")]
    assert paths == ["/startupz", "/healthz", "/readyz"]
    assert pod["terminationGracePeriodSeconds"] > config.server.grace_seconds


def test_the_store_never_evicts_and_keeps_a_file():
    lines = (DEPLOY / "valkey/valkey.conf").read_text("utf-8").splitlines()
    assert {"maxmemory-policy noeviction", "appendonly yes", "port 0"} <= set(lines)


def test_every_dependency_of_the_image_has_hashes_and_no_address():
    for file in DEPLOY.glob("container/requirements*.txt"):
        text = file.read_text("utf-8")
        assert "://" not in text
        for pinned in re.split(r"\n(?=\S)", text):
            assert "==" in pinned
            assert "--hash=sha256:" in pinned


def test_the_image_has_everything_that_the_server_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    pinned = (DEPLOY / "container/requirements.txt").read_text("utf-8")
    names = {re.match(r"[A-Za-z0-9.-]+", line)[0].lower().replace(".", "-") for line in wanted}
    assert names <= set(re.findall(r"^([a-z0-9-]+)==", pinned, re.MULTILINE))


@pytest.fixture(scope="module")
def store():
    """Connects as a user to a real store that knows the shipped users."""
    directory = Path(tempfile.mkdtemp())
    make_users(directory / "users")
    with EmbeddedValkey(directory) as valkey:
        with closing(Connection(valkey.url)) as owner:
            for line in (directory / "users/users.acl").read_text("utf-8").splitlines()[1:]:
                owner.ask("ACL", "SETUSER", *line.split()[1:])

        def connect(user):
            password = (directory / f"users/{user}-password").read_text("utf-8").strip()
            return closing(Connection(valkey.url, username=user, password=password))

        yield connect
    shutil.rmtree(directory)


READS = (
    lambda store: store.get(b"hashmatch:manifest"),
    lambda store: store.get_range(b"hashmatch:manifest", 0, 1),
    lambda store: store.get_many([b"hashmatch:b:a:0"]),
    lambda store: store.count_existing([b"hashmatch:s:a"]),
    lambda store: store.check_settings(),
)
WRITES = (
    lambda store: store.compare_and_set(b"hashmatch:manifest", b"", b"value"),
    lambda store: store.set_many({b"hashmatch:b:a:0": b"value"}),
    lambda store: store.set(b"hashmatch:x:1", b"value"),
    lambda store: store.delete([b"hashmatch:b:a:0"]),
    lambda store: store.take_lease(b"hashmatch:f:a", b"holder", 5),
    lambda store: store.release_lease(b"hashmatch:f:a", b"holder"),
    lambda store: store.hash_set(b"hashmatch:stagings", "a", b"value"),
    lambda store: store.hash_compare_and_set(b"hashmatch:stagings", "a", b"value", b"changed"),
    lambda store: store.hash_all(b"hashmatch:stagings"),
    lambda store: store.hash_compare_and_delete(b"hashmatch:pending", "a", b"value"),
    lambda store: store.hash_delete(b"hashmatch:stagings", "a"),
    lambda store: store.publish(b"hashmatch:changed", b""),
    lambda store: store.wait_for_disk(b"hashmatch:mark"),
)


def test_the_writer_may_do_what_servers_with_administration_do(store):
    with store("writer") as writer:
        for act in (*READS, *WRITES):
            act(writer)
        with pytest.raises(StoreUnavailableError):
            writer.get(b"another:key")


def test_the_reader_may_look_and_change_nothing(store):
    with store("reader") as reader:
        for act in READS:
            act(reader)
        for act in WRITES:
            with pytest.raises(StoreUnavailableError):
                act(reader)


@pytest.mark.parametrize("user", ["reader", "writer"])
def test_every_server_may_settle_budgets(store, user):
    with store(user) as connection:
        budgets = BudgetStore(connection, Keys("hashmatch"), SealingKey(bytes(KEY_SIZE)))
        told = Settlement("2027-01-15", rate=1.0, burst=8.0, wanted=8.0, hits=2, raised=((1, 9),), pause_seconds=60.0)
        budgets.settle(f"client of {user}", told)
        settled = budgets.settle(f"client of {user}", Settlement("2027-01-15"))
    assert (settled.hits, settled.sketch) == (2, b"\0\x09")
    assert settled.pause > 0


def test_the_collector_reads_no_key(store):
    with store("collector") as collector:
        assert collector.memory_used()
        with pytest.raises(StoreUnavailableError):
            collector.get(b"hashmatch:manifest")
