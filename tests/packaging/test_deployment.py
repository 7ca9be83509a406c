"""What is deployed fits the code: settings, ports, probes, users and pins."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from hashmatch.service.config_loader import load

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted([*DEPLOY.glob("kubernetes/**/*.yaml"), *DEPLOY.glob("valkey/*.yaml")])
OBJECTS = [
    (file, each)
    for file in MANIFESTS
    for each in yaml.safe_load_all(file.read_text("utf-8"))
    if each["kind"] not in ("Kustomization", "ServiceMonitor")
]
PODS = [each["spec"]["template"]["spec"] for _, each in OBJECTS if each["kind"] in ("Deployment", "StatefulSet")]


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("**/*.toml")), ids=str)
def test_settings_exist_and_fit_together(file):
    load(file=file, environ={})


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
