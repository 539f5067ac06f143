"""deploy/: the files are what Kubernetes' schemas allow, agree with each other, and have a form for Podman."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.for_podman import for_podman
from launcher.vmi.load import load_vmi

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
KUBERNETES = ("1.33", "1.34", "1.37")
"""From the first release that has image volumes switched on in its schema, to the last that the package knows."""
FILES = ("pod.yaml", "statefulset.yaml")

Document = dict[str, Any]


def documents(name: str) -> list[Document]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def pod_spec(name: str) -> Document:
    (document,) = (each for each in documents(name) if each["kind"] in ("Pod", "StatefulSet"))
    spec: Document = document["spec"] if document["kind"] == "Pod" else document["spec"]["template"]["spec"]
    return spec


def vmi_of(name: str) -> Document:
    (config,) = (each for each in documents(name) if each["kind"] == "ConfigMap")
    vmi: Document = yaml.safe_load(config["data"]["vmi.yaml"])
    return vmi


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", FILES)
def test_kubernetes_takes_it(name: str, version: str) -> None:
    """Strictly: a field that it does not know is an error, as for kubectl."""
    for document in documents(name):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", FILES)
def test_the_manifest_can_be_run(name: str, tmp_path: Path) -> None:
    path = tmp_path / "vmi.yaml"
    path.write_text(yaml.safe_dump(vmi_of(name)))
    load_vmi(str(path))


@pytest.mark.parametrize("name", FILES)
def test_the_pod_waits_longer_than_the_guest_may_take(name: str) -> None:
    assert vmi_of(name)["spec"]["terminationGracePeriodSeconds"] < pod_spec(name)["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", FILES)
def test_every_container_has_the_least_rights(name: str) -> None:
    spec = pod_spec(name)
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"]["drop"] == ["ALL"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in spec["volumes"]} | {"root"}


def test_the_stateful_set_differs_in_its_disk_alone() -> None:
    ours = {"terminationGracePeriodSeconds": None, "restartPolicy": None}
    pod, template = ({**pod_spec(name), **ours} for name in FILES)
    (disk,) = (volume for volume in pod["volumes"] if volume["name"] == "root")
    pod["volumes"].remove(disk)
    (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "root")
    del mount["readOnly"]
    assert template == pod


def test_podman_gets_folders_for_images_and_no_sidecar() -> None:
    sidecar = {"name": "dhcp", "restartPolicy": "Always"}
    main = {"name": "vm", "securityContext": {"runAsUser": 107}}
    once = {"name": "network", "securityContext": {"runAsUser": 0, "procMount": "Unmasked"}}
    image = {"image": {"reference": "disk:1"}}
    volumes = [{"name": "root", **image}, {"name": "state", "emptyDir": {}}, {"name": "more", **image}]
    pod = {
        "kind": "Pod",
        "spec": {"hostUsers": False, "initContainers": [once, sidecar], "containers": [main], "volumes": volumes},
    }
    (made,) = for_podman(pod, {"root": "/disks"})
    assert made["metadata"]["annotations"] == {"io.podman.annotations.init.container.type": "always"}
    assert made["spec"] == {
        "initContainers": [{"name": "network", "securityContext": {"runAsUser": 0, "privileged": True}}],
        "containers": [{"name": "dhcp"}, main],
        "restartPolicy": "OnFailure",
        "volumes": [{"name": "root", "hostPath": {"path": "/disks", "type": "Directory"}}, *volumes[1:]],
    }


def test_podman_gets_the_pods_of_a_stateful_set() -> None:
    """Named as Kubernetes names them and their claims."""
    one, state = {"name": "vm"}, {"name": "state", "emptyDir": {}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [one], "volumes": [state]}}
    claims = [{"metadata": {"name": "root"}}]
    spec = {"replicas": 2, "template": template, "volumeClaimTemplates": claims}
    made = for_podman({"kind": "StatefulSet", "metadata": {"name": "vm"}, "spec": spec}, {})
    assert [(pod["kind"], pod["metadata"]) for pod in made] == [
        ("Pod", {"labels": {"a": "b"}, "name": f"vm-{ordinal}"}) for ordinal in range(2)
    ]
    assert [pod["spec"]["volumes"] for pod in made] == [
        [state, {"name": "root", "persistentVolumeClaim": {"claimName": f"root-vm-{ordinal}"}}] for ordinal in range(2)
    ]


def test_podman_is_refused_what_it_would_ignore() -> None:
    spec = {"containers": [], "securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}
    with pytest.raises(ValueError, match="default_sysctls"):
        for_podman({"kind": "Pod", "spec": spec}, {})


def test_the_unit_waits_longer_than_the_container() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "vm.container")
    container = unit["Container"]
    stop = int(container["PodmanArgs"].partition("--stop-timeout ")[2].split()[0])
    assert stop < int(unit["Service"]["TimeoutStopSec"])
