"""The backup that docs/operating.md describes, restored."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from live.sites import live_site
from orthweb.dicom import phantom
from orthweb.dicom.find import find
from orthweb.dicom.peer import Peer


def test_backup_when_unpacked_elsewhere_and_brought_up_then_the_images_are_there(tmp_path: Path) -> None:
    archive = tmp_path / "site.tar.gz"
    sent = phantom.write(tmp_path, phantom.PhantomStudy("backup").slice(1))
    with live_site() as old:
        old.orthweb("dicom", "send", str(sent))
        old.orthweb("down")
        subprocess.run(["tar", "-C", str(old.state.parent), "-czf", str(archive), old.state.name], check=True)
        ports = {"https_port": old.https_port, "dicom_port": old.dicom_port}
    assert not old.folder.exists()
    with live_site(up=False, edge=ports) as new:
        shutil.rmtree(new.folder / ".orthweb", ignore_errors=True)
        subprocess.run(["tar", "-C", str(new.folder), "-xzf", str(archive)], check=True)
        new.orthweb("up")
        # The site's own trust came with it.
        peer = Peer.of_site(new.access)
        assert len(list(find(peer, "study", {}))) == 1
        new.orthweb("validate")
