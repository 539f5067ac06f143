"""The test laboratory: pods, nodes and guests as network namespaces of this host, and tools to observe them.

`namespace`, `shape`, `pod`, `waiting` and most `clients` are those of `launcher.testing`, where other projects' tests
have them. Only `lab.agent`, which runs the command line, `lab.forked` and `lab.readout` use the program under test.

- `namespace`  creates, enters, empties and removes a network namespace
- `shape`      what one CNI leaves in a pod, as `ip` commands read from `launcher/testing/shapes/*.toml`
- `cni`        a pod made by real CNI plugins
- `pod`        builds a shape: node, neighbour, pod and guest namespaces joined by veth pairs
- `snapshot`   the complete network state of a namespace, for comparison
- `readout`    what discovery reads and the VM gets, as text
- `sniffer`, `monitor`  frames and link events, recorded in the background
- `rawclient`  a DHCP client that sends single frames; replies dissected by scapy
- `clients`    real DHCP clients in the guest's namespace
- `bridged`    a pod bridged by hand and served by dnsmasq, to test the tests
- `checks`     assertions about a guest that has its lease
- `agent`      the program's command line, called inside a pod
"""
