#!/usr/bin/env python3
"""Turns Kubernetes' YAML of this folder into what `podman kube play` can run: Podman 4.3 (Debian 12), 5.4 (Debian 13).

    deploy/for_podman.py --image root=/srv/disk deploy/pod.yaml | podman kube play -

- a StatefulSet becomes its Pods; a claim of its template is the Podman volume of that name, such as `root-vm-0`: made
  beforehand with the disk in it, or by the Pod, empty (4.3 refuses to play a claim whose volume is there)
- volumes of type `image` are refused by 4.3: there each becomes the folder that `--image VOLUME=FOLDER` names
- a native sidecar (an init container with `restartPolicy: Always`) is waited for by 4.3, and refused by 5.4 if it has a
  probe: it becomes the first of the other containers
- with `restartPolicy: Always` 4.3 starts ordinary init containers again and again: it becomes `OnFailure`
- init containers run when the Pod is made, and not when it is started again: an annotation of Podman's has them run
- `procMount: Unmasked` is ignored without a word: the container becomes a privileged one, while it runs
- `fsGroup` is ignored, too: such a container gives the volume to the machine's user by its CAP_CHOWN
- `hostUsers` is left out: 5.4 wants users to map to in /etc/subuid
- a Pod's `sysctls` are ignored by 4.3: they are refused here, set them in containers.conf (default_sysctls)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

ALWAYS = "io.podman.annotations.init.container.type"


def for_podman(document: Document, images: dict[str, str]) -> list[Document]:
    """What takes the place of a document; raises ValueError for what cannot be had."""
    if document["kind"] == "StatefulSet":
        return [_pod(each, images) for each in _pods_of(document)]
    return [_pod(document, images) if document["kind"] == "Pod" else document]


def _pods_of(document: Document) -> list[Document]:
    """A StatefulSet's Pods and their claims, by the names that Kubernetes gives them."""
    spec, pods = document["spec"], []
    for ordinal in range(spec.get("replicas", 1)):
        name = f"{document['metadata']['name']}-{ordinal}"
        claims = [template["metadata"]["name"] for template in spec.get("volumeClaimTemplates", [])]
        volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}} for claim in claims]
        template = spec["template"]
        own = {**template["spec"], "volumes": [*template["spec"].get("volumes", []), *volumes]}
        metadata = {**template.get("metadata", {}), "name": name}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": own})
    return pods


def _pod(document: Document, images: dict[str, str]) -> Document:
    spec = dict(document["spec"])
    if spec.get("securityContext", {}).get("sysctls"):
        raise ValueError("Podman ignores spec.securityContext.sysctls: set default_sysctls in containers.conf")
    initial = spec.pop("initContainers", [])
    sidecars = [container for container in initial if container.get("restartPolicy") == "Always"]
    once = [container for container in initial if container not in sidecars]
    spec["containers"] = [_container(each) for each in (*sidecars, *spec["containers"])]
    spec.pop("hostUsers", None)
    if once:
        spec["initContainers"] = [_container(each) for each in once]
        if spec.get("restartPolicy", "Always") == "Always":
            spec["restartPolicy"] = "OnFailure"
        metadata = document.get("metadata", {})
        annotations = {**metadata.get("annotations", {}), ALWAYS: "always"}
        document = {**document, "metadata": {**metadata, "annotations": annotations}}
    spec["volumes"] = [_volume(volume, images) for volume in spec.get("volumes", [])]
    return {**document, "spec": spec}


def _container(container: Document) -> Document:
    changed = {name: value for name, value in container.items() if name != "restartPolicy"}
    context = dict(container.get("securityContext", {}))
    if context.pop("procMount", "Default") == "Unmasked":
        changed["securityContext"] = {**context, "privileged": True}
    return changed


def _volume(volume: Document, images: dict[str, str]) -> Document:
    name = volume["name"]
    if "image" not in volume or name not in images:
        return volume
    return {"name": name, "hostPath": {"path": images[name], "type": "Directory"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", metavar="VOLUME=FOLDER", action="append", default=[])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    images = dict(word.split("=", 1) for word in options.image)
    try:
        given = yaml.safe_load_all(options.file.read_text())
        documents = [made for each in given for made in for_podman(each, images)]
    except ValueError as error:
        raise SystemExit(f"{options.file}: {error}") from None
    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
