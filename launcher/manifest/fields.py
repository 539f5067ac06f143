"""What becomes of the fields of KubeVirt's API that `launcher.manifest.schema` does not have. Pure.

With the schema this is the whole list: the decoder, `validate --schema` and the table of docs/manifests.md are made of
both. A path includes everything below it. A field that gets an effect moves from here to the schema.
"""

from __future__ import annotations

from launcher.vmi.errors import is_one_of

CLUSTERS = (
    "spec.affinity",
    "spec.domain.cpu.maxSockets",
    "spec.domain.devices.disableHotplug",
    "spec.domain.devices.disks[].changedBlockTracking",
    "spec.domain.devices.logSerialConsole",
    "spec.domain.firmware.kernelBoot.container.image",
    "spec.domain.firmware.kernelBoot.container.imagePullPolicy",
    "spec.domain.firmware.kernelBoot.container.imagePullSecret",
    "spec.domain.memory.maxGuest",
    "spec.domain.resources.overcommitGuestOverhead",
    "spec.evictionStrategy",
    "spec.livenessProbe",
    "spec.nodeSelector",
    "spec.priorityClassName",
    "spec.readinessProbe",
    "spec.resourceClaims",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.tolerations",
    "spec.topologySpreadConstraints",
    "spec.utilityVolumes",
    "spec.volumes[].containerDisk.image",
    "spec.volumes[].containerDisk.imagePullPolicy",
    "spec.volumes[].containerDisk.imagePullSecret",
    "spec.volumes[].dataVolume.hotpluggable",
    "spec.volumes[].dataVolume.name",
    "spec.volumes[].downwardAPI.fields",
    "spec.volumes[].ephemeral.persistentVolumeClaim.claimName",
    "spec.volumes[].hostDisk.shared",
    "spec.volumes[].persistentVolumeClaim.claimName",
    "spec.volumes[].persistentVolumeClaim.hotpluggable",
    "spec.volumes[].serviceAccount.serviceAccountName",
)
"""Fields that say nothing about running the VM in this pod: scheduling, probes, limits of what may be added later."""

WITHOUT = {
    "spec.domain.chassis": "the guest sees no chassis data",
    "spec.domain.devices.clientPassthrough": "no client's USB device can be redirected to the VM",
    "spec.domain.devices.disks[].cdrom.tray": "the tray is closed",
    "spec.domain.devices.disks[].tag": "the guest's metadata does not have it",
    "spec.domain.devices.downwardMetrics": "the guest sees no metrics of its host",
    "spec.domain.devices.interfaces[].tag": "the guest's metadata does not have it",
    "spec.domain.devices.panicDevices": "the panic device is isa",
    "spec.domain.features.hyperv.tlbflush.direct": "flushes of a nested guest are as without it",
    "spec.domain.features.hyperv.tlbflush.extended": "the guest flushes whole address spaces",
}
"""Fields that are ignored with a warning: what the VM goes without."""

WITHOUT_ANNOTATIONS = {
    "hooks.kubevirt.io/hookSidecars": "no sidecar changes the domain",
}
"""Annotations that are ignored with a warning."""

REFUSED = {
    "spec.accessCredentials[].sshPublicKey.propagationMethod.qemuGuestAgent": "use noCloud or configDrive",
    "spec.accessCredentials[].userPassword": "put the password into the user data of cloud-init",
    "spec.domain.cpu.numa": "leave it out: the VM has one NUMA node",
    "spec.domain.cpu.realtime": "leave it out: the VM's CPUs are scheduled as other processes are",
    "spec.domain.devices.disks[].blockSize": "leave it out: blocks are of 512 bytes",
    "spec.domain.devices.disks[].lun.reservation": "leave it out, and use no persistent reservations",
    "spec.domain.devices.gpus": "leave it out: no device of the node can be given to the VM",
    "spec.domain.devices.hostDevices": "leave it out: no device of the node can be given to the VM",
    "spec.domain.devices.watchdog.diag288": "use i6300esb: this is a device of s390x",
    "spec.domain.firmware.acpi": "leave it out: the guest gets no ACPI table of its own",
    "spec.domain.launchSecurity": "leave it out: the VM's memory is not encrypted",
    "spec.domain.rebootPolicy": "leave it out: a VM that reboots goes on",
    "spec.startStrategy": "leave it out: the VM starts at once",
    "spec.volumes[].downwardMetrics": "remove the volume: the guest sees no metrics of its host",
    "spec.volumes[].memoryDump": "remove the volume: the VM's memory is not dumped",
}
"""Fields that are refused: what to do. Without them another VM would run than the one that is asked for."""

UNSERVED_BINDINGS = {
    "macvtap": "no installed package registers it",
    "passt": (
        "Debian 12's libvirt is built without it, and Debian 13's passt ends where it may make no user namespace, "
        "as in most containers"
    ),
    "slirp": "masquerade does the same",
    "sriov": "no device of the node can be given to the VM",
}
"""Why a binding of KubeVirt's is not served, unless a package registers one of that name."""

_INTERFACE = "spec.domain.devices.interfaces[]"

UNSERVED = {
    f"{_INTERFACE}.macvtap": UNSERVED_BINDINGS["macvtap"],
    f"{_INTERFACE}.passt": UNSERVED_BINDINGS["passt"],
    f"{_INTERFACE}.passtBinding": UNSERVED_BINDINGS["passt"],
    f"{_INTERFACE}.slirp": UNSERVED_BINDINGS["slirp"],
    f"{_INTERFACE}.sriov": UNSERVED_BINDINGS["sriov"],
    "spec.networks[].resourceClaim": UNSERVED_BINDINGS["sriov"],
}
"""Fields that keep an interface from being served: with the annotation for it the VM runs without that interface."""

MEANINGLESS = {"spec.domain.rebootPolicy": "Reboot"}
"""Values of refused fields that ask for what is so anyway."""

NETWORK = (
    "apiVersion",
    "kind",
    "metadata",
    "spec.dnsConfig",
    "spec.dnsPolicy",
    "spec.domain.cpu.cores",
    "spec.domain.cpu.sockets",
    "spec.domain.cpu.threads",
    "spec.domain.devices.autoattachPodInterface",
    "spec.domain.devices.interfaces",
    "spec.domain.devices.networkInterfaceMultiqueue",
    "spec.domain.devices.useVirtioTransitional",
    "spec.domain.firmware.uuid",
    "spec.domain.resources.limits.cpu",
    "spec.domain.resources.requests.cpu",
    "spec.hostname",
    "spec.networks",
    "spec.subdomain",
    "status",
)
"""The fields that the pre-start hook reads: MACs are derived of the UUID, and queues are as many as CPUs."""


def is_networks(path: str) -> bool:
    """Whether a problem at `path` keeps the hook from setting the network up."""
    return is_one_of(path, NETWORK)
