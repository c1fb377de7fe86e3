"""Orthweb: from nothing to a secure, proven medical-imaging site in one command."""

from importlib.metadata import version

__version__ = version("orthweb")
