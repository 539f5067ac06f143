"""The test laboratory: pods, nodes and guests as network namespaces of this machine, and the means to watch
them.

Nothing here knows the program under test except `lab.agent`, which calls its command line, `lab.forked` and
`lab.readout`.

- `namespace`  one network namespace: made, entered, emptied, removed
- `shape`      what one CNI leaves in a pod, as `ip` commands read from `tests/shapes/*.toml`
- `cni`        a pod made by real CNI plugins
- `pod`        a shape built: node, neighbour, pod and guest namespaces joined by veth pairs
- `snapshot`   everything that can be seen of a namespace's network, for comparison
- `readout`    what discovery reads and the VM is told, as text
- `sniffer`, `monitor`  frames and link events, recorded in the background
- `rawclient`  a DHCP client made of single frames, dissected by scapy
- `clients`    real DHCP clients in the guest's namespace
- `bridged`    a pod bridged by hand and served by dnsmasq: proves the tests, not the program
- `checks`     what must be true of a guest that has its lease
- `agent`      the program's command line, called inside a pod
"""
