"""The root file system of a machine image: Debian 13 with systemd and cloud-init, as Debian publishes it for EC2.

What the user data installs is not in it; it lies beside it as a package repository, so that the first boot installs it
as it does on AWS, without a network. It is made from the Debian mirror that this machine uses, once for each state of
the mirror, and kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from orthweb.image import bootstrap, host
from orthweb.render.user_data import user_data

SUITE = "trixie"

PACKAGES = (
    *("ca-certificates", "cloud-init", "curl", "dbus", "dhcpcd-base", "iproute2", "iptables", "openssh-server"),
    *("procps", "sudo", "systemd", "systemd-sysv", "udev"),
)
"""What Debian's image for EC2 has and a boot as far as here needs, but a kernel and what configures the network."""

REPOSITORY = "/srv/debian"
"""Where the packages of the user data are, in the image."""

RECIPE = """
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
cp /orthweb/host/apt-sources.list /etc/apt/sources.list
cp /orthweb/host/apt.conf /etc/apt/apt.conf.d/99-mirror
cat >/etc/apt/apt.conf.d/90-install <<APT
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
APT
# A machine that is thrown away need not wait for its disk.
cat >/etc/dpkg/dpkg.cfg.d/fast <<DPKG
force-unsafe-io
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
DPKG
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get -q update
apt-get -q -y upgrade
apt-get -q -y install $PACKAGES
rm /usr/sbin/policy-rc.d
rm -rf /var/cache/apt/archives/*.deb
apt-get -q -y --download-only install $LATER
mkdir -p $REPOSITORY
mv /var/cache/apt/archives/*.deb $REPOSITORY
cd $REPOSITORY
for file in *.deb; do
    dpkg-deb --field "$file"
    printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' \
        "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d ' ' -f 1)"
done >Packages
cd /
echo "deb [trusted=yes] file:$REPOSITORY ./" >/etc/apt/sources.list
rm -rf /orthweb /var/lib/apt/lists/* /etc/apt/apt.conf.d/90-install /etc/apt/apt.conf.d/99-mirror
# What is made anew by each machine.
rm -f /etc/ssh/ssh_host_* /etc/hostname /var/lib/dbus/machine-id
: >/etc/machine-id
mkdir -p /var/log/journal
# The kernel's devices are not this machine's own.
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-udev-trigger.service console-getty.service getty.target \
    systemd-modules-load.service systemd-sysctl.service; do
    ln -sf /dev/null /etc/systemd/system/$unit
done
# The network is set up from outside; cloud-init would ask for an address once more.
rm -f /usr/sbin/dhcpcd
cat >/etc/cloud/cloud.cfg.d/90-image.cfg <<CLOUD
apt: {preserve_sources_list: true}
datasource_list: [Ec2]
datasource: {Ec2: {strict_id: false, metadata_urls: ["http://169.254.169.254"], max_wait: 60, timeout: 5}}
manage_etc_hosts: true
network: {config: disabled}
updates: {network: {when: [boot-new-instance]}}
CLOUD
umount /proc
"""


def packages_of_user_data() -> list[str]:
    """Give what the user data installs."""
    found = yaml.safe_load(user_data("site", "eu-central-1", "/orthweb/site", "ops:1"))
    return [str(name) for name in found["packages"]]


def image(report: Callable[[str], None]) -> Path:
    """Give the folder with the root file system; it is made when there is none for what the mirror has now.

    Raises
    ------
    OrthwebError : the mirror cannot be reached.
    """
    reach = host.read_reach()
    mirror = host.mirror(SUITE, None, host.read_sources())
    state = bootstrap.look(mirror, reach)
    values = {"PACKAGES": " ".join(PACKAGES), "LATER": " ".join(packages_of_user_data()), "REPOSITORY": REPOSITORY}
    recipe = hashlib.sha256(repr((RECIPE, sorted(values.items()), state.digest)).encode()).hexdigest()[:16]
    folder = bootstrap.cache().parent / "machine" / f"{SUITE}-{host.architecture()}-{recipe}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        shutil.rmtree(other)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent, ignore_cleanup_errors=True) as place:
        made = Path(place) / "root"
        made.mkdir(mode=0o755)
        base = bootstrap.rootfs(mirror, reach, state, report)
        subprocess.run(["tar", "--extract", "--file", base, "--directory", made, "--numeric-owner"], check=True)
        for name, content in host.files(mirror, reach).items():
            file = made / "orthweb" / "host" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        shutil.copyfile("/etc/resolv.conf", made / "etc/resolv.conf")
        report("machine image: installing Debian's packages")
        chroot = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "chroot", str(made), "sh", "-c", RECIPE]
        done = subprocess.run(
            chroot, env=values | {"PATH": bootstrap.PATHS}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        (made / "etc/resolv.conf").unlink()
        made.rename(folder)
    return folder
