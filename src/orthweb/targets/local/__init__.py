"""The local target: PostgreSQL, Orthanc and Envoy as processes of this machine, under a supervisor of their own."""

from orthweb.targets.local.target import LocalTarget

__all__ = ["LocalTarget"]
