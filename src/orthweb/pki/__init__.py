"""The site's certificates: two CAs, the identities they sign, an own certificate, DICOM client certificates.

`plan` says what is missing or due, `ensure` does it, `paths` names the files. All masters lie in one folder (0700, keys
0600); targets deliver copies to the services.
"""

from orthweb.pki.clients import ClientCertificate, issue_client
from orthweb.pki.layout import Change, Pki, paths
from orthweb.pki.listing import Listed, inventory
from orthweb.pki.renewal import ensure, plan

__all__ = ["Change", "ClientCertificate", "Listed", "Pki", "ensure", "inventory", "issue_client", "paths", "plan"]
