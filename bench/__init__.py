"""Benchmarks of the DHCP server and of the hook, compared with other servers and a shell script.

`python bench/run.py --help` prints how to run them. Nothing here is installed or imported by the programs.

- `run`         the command line
- `laboratory`  namespaces joined by veth pairs, and the processes measured in them
- `quiet`       whether other processes use the machine
- `samples`     figures by subject, metric and round
- `report`      tables, and the targets beside the figures
- `plot`        the same as SVG
- `dhcp`        DHCP servers under a load generator in C
- `hook`        the pre-start hook and a shell script
"""
