"""What a site on AWS costs a month: from Terraform's plan, stated volumes and a dated table of prices."""

from orthweb.cost.estimate import Estimate, Line, estimate
from orthweb.cost.prices import Prices, built_in
from orthweb.cost.volumes import Volumes

__all__ = ["Estimate", "Line", "Prices", "Volumes", "built_in", "estimate"]
