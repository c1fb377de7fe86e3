# SPDX-License-Identifier: AGPL-3.0-or-later
"""Let Orthanc keep its attachments in an S3 bucket, where its configuration has a section ``Orthweb.S3``.

Orthanc's Python plugin loads this file; what it does is in `s3_store`, which can be tested without Orthanc.
An error here ends Orthanc's start: it must never fall back to files in a folder.
"""

import json
import sys
import threading


def _register(orthanc):
    configuration = json.loads(orthanc.GetConfiguration())
    section = configuration.get("Orthweb", {})
    if "S3" not in section:
        return
    if section.get("Libraries"):
        sys.path.append(section["Libraries"])
    from confirmation import Confirmation
    from s3_store.failures import StoreError, briefly
    from s3_store.report import Reporter
    from s3_store.settings import Settings
    from s3_store.store import ObjectStore
    from s3_store.threads import Elsewhere

    settings = Settings.read(section["S3"])
    store = ObjectStore(settings, log=orthanc.LogError)
    elsewhere = Elsewhere()
    # In Orthanc's own threads, which tell one instance from another.
    sure = Confirmation(elsewhere(store.create), elsewhere(store.remove), orthanc.LogError)
    orthanc.RegisterStorageArea(
        briefly(sure.create, StoreError, OSError), elsewhere(store.read), briefly(sure.remove, StoreError)
    )
    orthanc.RegisterOnStoredInstanceCallback(lambda *_: sure.stored())
    admits = elsewhere(store.gate.admits)

    writing = (orthanc.HttpMethod.POST, orthanc.HttpMethod.PUT)
    orthanc.RegisterIncomingHttpRequestFilter(lambda uri, **request: request["method"] not in writing or admits(uri))

    def look():
        if store.gate.problem() is None:
            orthanc.LogWarning(f"the store is the bucket {settings.bucket}")

    def publish(name, value):
        orthanc.SetMetricsValue(name, value, orthanc.MetricsType.DEFAULT)

    # While Orthanc reads a file for another plugin it holds the lock that this call waits for. Unless the call lets go
    # of the interpreter meanwhile (Python plugin 4.3), neither ever ends.
    allowed = configuration.get("Python", {}).get("AllowThreads", False)
    Reporter(store.metrics, configuration.get("TemporaryDirectory"), publish if allowed else None).start()

    # A bucket that does not answer must not keep Orthanc from starting: it may come back, and the cache can be read.
    threading.Thread(target=look, daemon=True).start()


try:
    import orthanc
except ImportError:
    pass  # a test
else:
    _register(orthanc)
