"""Python's cyclic garbage collector, put off while a model is loaded.

In, out: nothing. Knows nothing of: models.

Loading makes some hundred thousand objects, none of which is garbage. Looking for it among them takes a fifth of
the time of loading a small model.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_n_inside = 0
_was_enabled = False


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No collection starts while this lasts, in whatever thread; a collector that was off stays off."""
    global _n_inside, _was_enabled
    with _lock:
        if _n_inside == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _n_inside += 1
    try:
        yield
    finally:
        with _lock:
            _n_inside -= 1
            if _n_inside == 0 and _was_enabled:
                gc.enable()
