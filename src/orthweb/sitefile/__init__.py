"""The site file: read, checked, explained, written and documented, all from the model in `orthweb.site`."""

from orthweb.sitefile.edge_ports import check_ports
from orthweb.sitefile.reading import load, load_with_origin, parse

__all__ = ["check_ports", "load", "load_with_origin", "parse"]
