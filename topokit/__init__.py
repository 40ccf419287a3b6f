"""topokit: make, prove, look at and export sparse layered topologies.

>>> import topokit
>>> net = topokit.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)).build()
>>> net
<Topology 800-300-100, 27,000 edges, density 0.1>
>>> topokit.verify(net).verdict.value
'holds'

__init__.pyi lists the public names. They are imported when they are first used: `import topokit` costs little.
"""

import logging

import lazy_loader

from topokit.errors import needing

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())

_imported, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = needing()(_imported)
