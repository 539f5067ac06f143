"""Measurements of the DHCP server and of the hook, next to what others do for the same purpose.

`python bench/run.py --help` tells how to run them. Nothing here is installed or imported by the programs.

- `run`         the command line
- `laboratory`  namespaces joined by veth pairs, and the processes measured in them
- `quiet`       whether anybody else uses the machine
- `samples`     figures by subject, metric and round
- `report`      tables, and the targets beside the figures
- `plot`        the same as SVG
- `dhcp`        servers under a load generator of our own
- `hook`        the pre-start hook next to a shell script
"""
