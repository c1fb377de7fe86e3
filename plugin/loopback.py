# SPDX-License-Identifier: AGPL-3.0-or-later
"""Close Orthanc's own ports to every network but this machine's loopback.

Orthanc before 1.12.10 listens on all addresses. It refuses strangers, but only after it has taken their
connection: one that says nothing keeps its DICOM server from everybody else. Here each listening socket is bound to
the loopback interface (``SO_BINDTODEVICE``, socket(7)), so that to other machines nothing listens there. Since
Linux 5.7 this needs no privilege.

Orthanc's Python plugin loads this file. Without Orthanc it can be imported and tested: `close` is all there is.
"""

import json
import os
import socket
import stat
from pathlib import Path


def close():
    """Bind every TCP socket on which this process listens to the loopback interface; give their ports."""
    ports = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            number = int(entry.name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            copy = os.dup(number)
        except OSError:
            continue  # closed meanwhile: it was the one of the listing itself
        with socket.socket(fileno=copy) as found:
            if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
                continue
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
                ports.append(found.getsockname()[1])
    return sorted(ports)


def _register(orthanc):
    if not json.loads(orthanc.GetConfiguration()).get("Orthweb", {}).get("Loopback", True):
        return  # a container's network is its own

    def changed(change, _level, _resource):
        if change == orthanc.ChangeType.ORTHANC_STARTED:
            ports = ", ".join(map(str, close()))
            orthanc.LogWarning(f"closed to other machines: ports {ports}")

    orthanc.RegisterOnChangeCallback(changed)


try:
    import orthanc
except ImportError:
    pass  # a test
else:
    _register(orthanc)
