"""Orthweb's container images: built here, from Debian's packages and nothing else's registry.

`build` makes them, `present` tells whether the engine has them, `reference` names them, `engine.find` finds the engine.
"""

from orthweb.image.build import ROLES, Built, Role, build, present, reference

__all__ = ["ROLES", "Built", "Role", "build", "present", "reference"]
