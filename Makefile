# virt-launcher on Debian 12 or 13, as root:
#
#   make demo    a pod, a node and a real virtual machine, shown step by step
#   make test    the linters, the type checker and every test; with STRICT=1 the first failure of a test is final
#   make docs    docs/ as a site, in .cache/site
#   make test-guest    a real Debian 13 guest with cloud-init: minutes without KVM
#   make test-debian13 (or -debian12)    make test on that release, in a chroot
#
# They install what they need the first time (the packages below, and .venv with the files of constraints.txt, by their
# hashes; the demo only what it needs itself, in .cache/demo); later runs install nothing and need no network.

.DEFAULT_GOAL := help
.PHONY: help docs demo test test-guest test-debian12 test-debian13 check unit mutants venv constraints image demo-packages test-packages bench-packages libvirt-user bench faults man clean

PYTHON ?= /usr/bin/python3
VENV := .venv
MAN := build/virt-launcher.1
BIN := $(VENV)/bin
# What `make demo` takes: the tests' where there is one, else one that is made in less time
MADE := $(patsubst %/installed,%,$(wildcard $(VENV)/installed))
QUICK := .cache/demo
DEMO := $(or $(MADE),$(QUICK))
PYTEST := $(BIN)/python -m pytest
INSTALL := python -m pip install --quiet --no-build-isolation --no-deps # all that it needs is in constraints.txt
SECOND_TRY := --second-try --last-failed --last-failed-no-failures none
PACKAGES := dhcp launcher netsetup
# Prints the entries of constraints.txt that setup.cfg requires, or one of its extras does.
LOCKED := $(PYTHON) deploy/image/locked.py .

# Needed to run a VM in a pod; besides, to build libvirt's Python binding, and for tests with its daemon.
VM_PACKAGES := python3-venv libvirt-daemon-driver-qemu qemu-system-x86 seabios ipxe-qemu \
    iproute2 nftables busybox-static containernetworking-plugins iputils-ping
BUILD_PACKAGES := $(VM_PACKAGES) python3-dev gcc pkg-config libvirt-dev libvirt-daemon
DEMO_PACKAGES := $(VM_PACKAGES) $(if $(MADE),,python3-libvirt)
IMAGE_PACKAGES := podman mmdebstrap
# The DHCP clients and servers that the tests run, and the tools with which they inspect the network.
TEST_PACKAGES := $(BUILD_PACKAGES) udhcpc isc-dhcp-client dnsmasq-base dhcpcd-base systemd network-manager dbus \
    netavark aardvark-dns wide-dhcpv6-client dibbler-client ndisc6 tcpdump tshark ethtool arping iptables kmod procps \
    strace qemu-utils zsh fish mandoc ovmf swtpm swtpm-tools $(IMAGE_PACKAGES) runc catatonit slirp4netns uidmap \
    $(if $(filter 12,$(shell . /etc/os-release && echo $$VERSION_ID)),,virtiofsd) # on Debian 12 it comes with QEMU

RDNSSD := .cache/rdnssd

# The servers that the benchmarks compare with ours. Debian may start Kea and ISC dhcpd; as installed they serve no client.
BENCH_PACKAGES := $(BUILD_PACKAGES) dnsmasq-base kea-dhcp4-server isc-dhcp-server iperf3 passt

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: demo-packages $(DEMO)/installed
	$(DEMO)/bin/virt-launcher demo

# Two test files per core at a time, the long ones first: most tests wait for packets, not for the CPU. Unless STRICT=1,
# failed tests are tried once more, one after another; the last lines name each that passed only then, which is a defect
# of that test.
test: test-packages venv check
	$(PYTEST) --numprocesses $$((2 * $$(nproc))) --dist loadfile --no-loadscope-reorder$(if $(STRICT),, || { test $$? -eq 1 && $(PYTEST) $(SECOND_TRY); })

# The guest is made by mmdebstrap the first time, and kept below .cache.
test-guest: test-packages venv
	$(call install,mmdebstrap openssh-client e2fsprogs dosfstools mtools fdisk)
	$(PYTEST) tests/guest

# The last commit's tree, in a chroot below .cache that is made the first time and kept.
test-debian12: RELEASE := bookworm
test-debian13: RELEASE := trixie
test-debian12 test-debian13:
	$(call install,mmdebstrap git)
	.ci/chroot $(RELEASE) make test

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: venv
	$(PYTEST) tests/unit

# Every system call of every verb fails; see docs/faults.md. Run again, it goes on where it ended.
faults: test-packages venv
	$(BIN)/python tests/faults/matrix.py --seconds 1500 --write docs/faults.md$(if $(FAULTS), $(FAULTS))

# Small changes of the pure modules that some test has to notice: docs/testing.md.
mutants: venv
	$(BIN)/python tests/mutation/run.py $(MUTANTS)

# The manual page, from the command line's own parser.
man: venv
	mkdir -p $(dir $(MAN))
	COLUMNS=80 $(BIN)/argparse-manpage --module launcher.cli --function whole_parser --include docs/manual.inc \
	    --prog virt-launcher --project-name virt-launcher --manual-title 'User Commands' \
	    --description "hand a pod's network to the virtual machine in it" --output $(MAN)
	sed -i '1s/\\-/-/g' $(MAN)

bench: bench-packages venv
	$(BIN)/python bench/run.py $(BENCH)

venv: $(VENV)/installed
	@$(BIN)/python -m compileall -q $(PACKAGES)

# setuptools first, by which the others are built.
$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	@echo "Making $(VENV) with the files of constraints.txt, by their hashes"
	@$(PYTHON) -m venv $(VENV)
	@$(LOCKED) =setuptools >$(VENV)/build.txt
	$(BIN)/$(INSTALL) --require-hashes --requirement $(VENV)/build.txt
	$(BIN)/$(INSTALL) --require-hashes --requirement constraints.txt
	$(BIN)/$(INSTALL) --config-settings editable_mode=compat --editable .
	@$(BIN)/python -m compileall -q $(VENV)/lib
	@touch $@

# For a machine that has no $(VENV): what the program needs, and Debian's binding of libvirt, which is built already.
$(QUICK)/installed: setup.cfg pyproject.toml constraints.txt
	@echo "Making $(QUICK) with what the program needs, by the hashes of constraints.txt"
	@$(PYTHON) -m venv --system-site-packages $(QUICK)
	@{ $(LOCKED) =setuptools && $(LOCKED); } >$(QUICK)/run.txt
	$(QUICK)/bin/$(filter-out --quiet,$(INSTALL)) --require-hashes --requirement $(QUICK)/run.txt
	$(QUICK)/bin/$(INSTALL) --config-settings editable_mode=compat --editable .
	@$(QUICK)/bin/python -m compileall -q $(PACKAGES)
	@touch $@

docs: venv
	$(BIN)/mkdocs build --strict --config-file .ci/mkdocs.yml

# Which files `make venv` may install; versions stay where setup.cfg allows them, but with UPGRADE=--upgrade. Needs uv.
constraints:
	echo setuptools | uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	    --extra completion --extra docs --extra metrics --extra probe --extra run --extra test \
	    --no-annotate --custom-compile-command 'make constraints' setup.cfg - --output-file constraints.txt

# Both container images, net and full; deploy/image/build says which variables it takes.
image:
	$(if $(IMAGE_BASE),,$(call install,$(IMAGE_PACKAGES)))
	deploy/image/build

# Only missing packages are installed, so a machine that has all of them needs neither network nor time.
define install
	@missing=$$(for p in $(1); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	    echo "Installing Debian packages:" $$missing; \
	    apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $$missing; \
	fi
endef

demo-packages: libvirt-user
	$(call install,$(DEMO_PACKAGES))

# Debian's rdnssd conflicts with network-manager, so it is only unpacked; Debian 13 has no /sbin of its own any more.
test-packages: libvirt-user
	$(call install,$(TEST_PACKAGES))
	@test -x $(RDNSSD)/sbin/rdnssd || { \
	    mkdir -p $(RDNSSD) && cd $(RDNSSD) && apt-get -q -o APT::Sandbox::User=root download rdnssd && \
	    dpkg-deb -x rdnssd_*.deb . && { test -e sbin || ln -s usr/sbin sbin; }; }

bench-packages: libvirt-user
	$(call install,$(BENCH_PACKAGES))

# Debian's libvirt requires this user even when QEMU runs as another one.
libvirt-user:
	@getent passwd libvirt-qemu >/dev/null || \
	    { echo "Adding the system user libvirt-qemu"; useradd --system --user-group --no-create-home libvirt-qemu; }
	@getent group kvm >/dev/null || { echo "Adding the system group kvm"; groupadd --system kvm; }

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache
