"""The Docker target: PostgreSQL, Orthanc and Envoy as containers of this machine's Docker engine."""

from orthweb.targets.docker.target import DockerTarget

__all__ = ["DockerTarget"]
