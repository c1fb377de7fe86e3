"""A machine that boots: systemd as the first process of namespaces of its own, on a root file system of its own.

Everything that is kept over a reboot lies in the machine's folder; its network is made anew with each boot, as is its
memory. It starts again when it reboots itself, and stays off when it powers itself off.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from host.network import Network
from live.docker_engine import CGROUPS, ENTER

BOOT_SECONDS = 60

# A group of its own in every hierarchy of cgroups, then namespaces.
OUTER = """
set -eu
name=$1 groups=/sys/fs/cgroup
shift
if [ "$(stat -f -c %T $groups)" = cgroup2fs ]; then
    mkdir -p $groups/$name
    for each in $(cat $groups/cgroup.controllers); do
        echo +$each >$groups/cgroup.subtree_control 2>/dev/null || true
    done
    echo $$ >$groups/$name/cgroup.procs
else
    if ! grep -q "name=systemd" /proc/self/cgroup; then
        mkdir -p $groups/systemd
        mount -t cgroup -o none,name=systemd,xattr systemd $groups/systemd
    fi
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | while read -r place; do
        mkdir -p $place/$name
        for each in cpuset.cpus cpuset.mems; do
            [ ! -e $place/$each ] || cat $place/$each >$place/$name/$each
        done
        echo $$ >$place/$name/cgroup.procs
    done
fi
exec unshare --cgroup --pid --fork --kill-child --ipc --uts sh -c "$INNER" sh "$@"
"""

# What is left of its groups when it is gone; other tests' are not its own. They stay as long as the last of its
# processes does, which dies a moment after the first.
CLEAR = """
find_groups() {
    find /sys/fs/cgroup -depth -type d \\( -path "/sys/fs/cgroup/$name*" -o -path "/sys/fs/cgroup/*/$name*" \\) "$@"
}
name=$1
for attempt in $(seq 40); do
    find_groups -exec rmdir {} + 2>/dev/null
    [ -n "$(find_groups -print -quit)" ] || break
    sleep 0.25
done
"""

# The first process: mounts what a kernel's first process finds, and becomes systemd.
INNER = """
set -eu
image=$1 folder=$2
root=$folder/root
mount -t overlay -o lowerdir=$image,upperdir=$folder/upper,workdir=$folder/work overlay $root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
groups=$root/sys/fs/cgroup
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 $groups
    options=
else
    mount -t tmpfs -o mode=0755 cgroup $groups
    while IFS=: read -r number names path; do
        place=$groups/$(echo $names | sed 's/^name=//')
        case $number,$names in
        0,) ;;
        *,name=*) mkdir $place && mount -t cgroup -o none,$names cgroup $place ;;
        *) mkdir $place && mount -t cgroup -o $names cgroup $place ;;
        esac
    done </proc/self/cgroup
    options="systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
    options="$options SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
fi
mount -t tmpfs -o mode=0755 dev $root/dev
for each in null zero full random urandom tty; do
    touch $root/dev/$each
    mount --bind /dev/$each $root/dev/$each
done
mkdir $root/dev/pts $root/dev/shm $root/dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
mount -t tmpfs -o mode=1777,nosuid,nodev shm $root/dev/shm
mount -t mqueue mqueue $root/dev/mqueue
mount -t tmpfs -o mode=0755,nosuid,nodev run $root/run
mount -t tmpfs -o mode=1777,nosuid,nodev tmp $root/tmp
# An overlay cannot lie on another one.
for each in docker containerd; do
    mkdir -p $root/var/lib/$each $folder/$each
    mount --bind $folder/$each $root/var/lib/$each
done
cd $root
mkdir -p run/outside
pivot_root . run/outside
exec chroot . sh -c '
    umount -l /run/outside && rmdir /run/outside
    exec env -i container=orthweb-test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 "$@"
' sh /sbin/init $options
"""

_ENTER = (sys.executable, "-c", ENTER, "sh", "-c", CGROUPS, "sh")


class Machine:
    """A machine.

    Parameters
    ----------
    name : of its namespaces and control groups.
    identity : EC2's id of it.
    folder : what it keeps.
    image : root file system that it starts with; it is not changed.
    """

    def __init__(
        self, name: str, folder: Path, image: Path, network: Network, address: str, identity: str = ""
    ) -> None:
        self.name = name
        self.identity = identity
        self.folder = folder
        self.address = address
        self.boots = 0
        self._image = image
        self._network = network
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        for each in ("upper", "work", "root"):
            (folder / each).mkdir(parents=True)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Put files into its root file system, before its first boot."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name.lstrip("/"))
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
        script = (
            "mount -t overlay -o lowerdir=$1,upperdir=$2/upper,workdir=$2/work overlay $2/root && tar -x -C $2/root "
            "--no-overwrite-dir"
        )
        words = ["unshare", "--mount", "sh", "-c", script, "sh", str(self._image), str(self.folder)]
        subprocess.run(words, input=content.getvalue(), check=True)

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return self._process is not None and self._process.poll() is None

    @property
    def first(self) -> int:
        """This machine's number of its first process."""
        assert self._process is not None
        assert self.running, f"{self.name} is off: {self.console}"
        children = psutil.Process(self._process.pid).children()
        assert children, self.console
        return children[0].pid

    @property
    def console(self) -> str:
        """What was written before there was a journal."""
        return (self.folder / "console").read_text(errors="replace")[-2000:]

    def start(self) -> None:
        """Switch it on, and wait until its first process is systemd."""
        assert self._thread is None, "it is on"
        self._stopping.clear()
        boots = self.boots
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        self.wait_boot(boots)

    def wait_boot(self, before: int, seconds: float = BOOT_SECONDS) -> None:
        """Wait until it has been started more than `before` times, and runs systemd."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(psutil.Error, AssertionError):
                if self.boots > before and psutil.Process(self.first).name() == "systemd":
                    return
            assert time.monotonic() < deadline, f"{self.name} does not boot: {self.console}"
            time.sleep(0.05)

    def kill(self) -> None:
        """Cut its power."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Switch it off in order, or else cut its power."""
        if self.running:
            self._stopping.set()
            with contextlib.suppress(Exception):
                subprocess.run([*self._into(), "systemctl", "poweroff"], capture_output=True, check=False, timeout=10)
            assert self._process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Cut its power and forget it."""
        self.kill()
        self._network.leave(self.name)
        subprocess.run([*_ENTER, "sh", "-c", CLEAR, "sh", self.name], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def reboot(self) -> None:
        """Let it reboot itself, and wait until it is back as far as systemd."""
        before = self.boots
        subprocess.run([*self._into(), "systemctl", "reboot"], capture_output=True, check=False)
        self.wait_boot(before, 120)

    def run(self, *words: str, check: bool = True, timeout: float = 120, stdin: str | None = None) -> str:
        """Run a command in it, as root; give its output."""
        done = subprocess.run(
            [*self._into(), *words], input=stdin, capture_output=True, text=True, errors="replace", check=False,
            timeout=timeout,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def file(self, path: str) -> Path:
        """Give the path here of a file in the running machine."""
        return Path(f"/proc/{self.first}/root/{path.lstrip('/')}")

    def wait(self, ask: Callable[[], object], what: str, seconds: float) -> None:
        """Ask until the answer is true."""
        deadline = time.monotonic() + seconds
        while not ask():
            assert time.monotonic() < deadline, f"{self.name}: {what}: not in {seconds:.0f} s\n{self.journal()[-4000:]}"
            time.sleep(0.3)

    def journal(self, *words: str) -> str:
        """Give its log."""
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", *words, check=False)

    def on_disk(self, patterns: Path) -> list[str]:
        """Name the files on its disk that hold one of the texts in a file, one a line."""
        places = [str(self.folder / each) for each in ("upper", "docker", "containerd")]
        words = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", f"--file={patterns}", *places]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr[-1000:]
        return done.stdout.splitlines()

    def _into(self) -> list[str]:
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"]
        return ["nsenter", f"--target={self.first}", *spaces, "--root", "--wd=/", *environment]

    def _end(self, how: signal.Signals) -> None:
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            # Its first process is told by the kernel to die with this one, and everything else with the first.
            self._process.send_signal(how)
        if self._thread is not None:
            self._thread.join(30)
            assert not self._thread.is_alive(), f"{self.name} cannot be switched off"
            self._thread = None

    def _run(self) -> None:
        """Start it, and again whenever it has rebooted. In one thread, because it ends with the thread that made it."""
        while True:
            self._network.join(self.name, self.address)
            command = [*_ENTER, "sh", "-c", OUTER, "sh"]
            spaces = ["nsenter", f"--net=/run/netns/{self.name}", "setpriv", "--pdeathsig=KILL"]
            with (self.folder / "console").open("ab") as log:
                self._process = subprocess.Popen(
                    [*spaces, *command, self.name, str(self._image), str(self.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "INNER": INNER},
                    start_new_session=True,
                )
            self.boots += 1
            ended = self._process.wait()
            # reboot(2): the first process of a namespace ends by SIGHUP when it wants to be started again.
            if self._stopping.is_set() or ended != -signal.SIGHUP:
                return
