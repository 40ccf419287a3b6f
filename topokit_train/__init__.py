"""topokit_train: train PyTorch networks whose weights are really sparse, on topokit's topologies.

__init__.pyi lists the public names. They are imported when they are first used: `import topokit_train` loads no
torch.
"""

import lazy_loader

from topokit.errors import needing

_imported, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = needing()(_imported)
