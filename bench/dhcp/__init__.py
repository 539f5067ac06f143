"""DHCP servers under one load generator: latency, throughput, CPU, memory, start."""
