"""How foreign clients come to trust a site: the CA in the formats they read, and commands ready to paste."""

from orthweb.trust.clients import TOOLS, Instructions, Step, instructions
from orthweb.trust.connection import TRUST_STORE_PASSWORD, Connection, export, with_client
from orthweb.trust.text import facts, text

__all__ = [
    "TOOLS",
    "TRUST_STORE_PASSWORD",
    "Connection",
    "Instructions",
    "Step",
    "export",
    "facts",
    "instructions",
    "text",
    "with_client",
]
