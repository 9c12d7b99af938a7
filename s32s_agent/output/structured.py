"""Import structlog without what only its coroutines and its console need, which would take a third of a start.

Every other module takes structlog from here, so that nothing imports it earlier.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands in for a module, and imports it when one of its attributes is first used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


# asyncio is for loggers whose methods are coroutines, uuid for contexts that a thread keeps; the others are for
# structlog's console. None marks a module as not installed.
_STAND_INS: dict[str, Any] = {
    "asyncio": _Deferred("asyncio"),
    "uuid": _Deferred("uuid"),
    "rich": None,
    "colorama": None,
}
for _name, _stand_in in _STAND_INS.items():
    sys.modules.setdefault(_name, _stand_in)
try:
    import structlog
    from structlog.typing import FilteringBoundLogger, Processor
finally:
    for _name, _stand_in in _STAND_INS.items():
        if sys.modules.get(_name, _name) is _stand_in:
            del sys.modules[_name]

__all__ = ["FilteringBoundLogger", "Processor", "structlog"]
