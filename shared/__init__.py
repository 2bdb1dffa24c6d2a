"""roughfed: federated learning for rough data.

`from roughfed import Client` is all that a data owner needs; everything else is the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roughfed.client.api import Client
    from roughfed.data.arriving import Arriving
    from roughfed.data.stream import Stream
    from roughfed.data.watched import WatchedFolder

if __name__ == "shared":
    raise ImportError("import roughfed, not shared: the folder is installed as the package roughfed")

__version__ = "0.2.0"

_LAZY = {
    "Arriving": "roughfed.data.arriving",
    "Client": "roughfed.client.api",
    "Stream": "roughfed.data.stream",
    "WatchedFolder": "roughfed.data.watched",
}

__all__ = ["Arriving", "Client", "Stream", "WatchedFolder", "__version__"]


def __getattr__(name: str) -> Any:
    """Load what a data owner needs only when it is asked for: the server never pays for it (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'roughfed' has no attribute {name!r}")
