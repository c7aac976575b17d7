"""Classes that a model's own code defines: known to the audit and to Keras while a block runs, and not afterwards."""

import hashlib
import linecache
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, ModuleType
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from lake.core.tensorflow import keras
from model.code import Code

_COUNTS = "object_name_uids"  # of Keras
_OWN: ContextVar[Mapping[str, Any]] = ContextVar("own_classes", default=MappingProxyType({}))


def own_classes() -> Mapping[str, Any]:
    """What the code of this block defines, by the names that a model's file may call it; nothing without code."""
    return _OWN.get()


@contextmanager
def running(code: Code | None) -> Iterator[None]:
    """Run code, and let models that are loaded in the block use its classes and functions.

    Args:
      code: what somebody has allowed to run; None for none.

    Raises:
      BundleError: it raises an error.
    """
    if code is None:
        yield
        return
    own = _run(code)
    token = _OWN.set(own)
    try:
        with _counting_anew(), keras().saving.custom_object_scope(dict(own)):
            yield
    finally:
        _OWN.reset(token)


@contextmanager
def _counting_anew() -> Iterator[None]:
    """Let Keras number layers without a name from 0, so that those of a model are called the same at each load."""
    from keras.src.backend.common import global_state

    counts = global_state.get_global_attribute(_COUNTS)
    global_state.set_global_attribute(_COUNTS, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(_COUNTS, counts)


def _run(code: Code) -> Mapping[str, Any]:
    from keras.src.saving import object_registration

    # A name of its own for each text, so that two models in one process never share a class by accident.
    name = f"latentlake_code_{hashlib.sha256(code.data).hexdigest()[:16]}"
    if name in sys.modules:
        return _by_name(sys.modules[name])
    module, place = ModuleType(name), f"<{name}>"
    module.__file__ = place
    text = code.data.decode("utf-8-sig", "replace")
    linecache.cache[place] = len(text), None, text.splitlines(keepends=True), place  # for tracebacks, and AutoGraph
    registries = object_registration.GLOBAL_CUSTOM_OBJECTS, object_registration.GLOBAL_CUSTOM_NAMES
    before = [dict(registry) for registry in registries]
    sys.modules[name] = module  # which dataclasses look for
    try:
        exec(compile(code.data, place, "exec"), module.__dict__)  # what --code and --allow-code are for
        registered = dict(registries[1])
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        missing = isinstance(error, ImportError)
        remedy = "install it, or put all that it needs into this one file" if missing else "see that it runs by itself"
        what = printable(f"{type(error).__name__}: {error}", 500)
        raise BundleError(f"{code.name}: its code fails: {what}; {remedy}") from error
    finally:
        # Other models in this process must not find them.
        for registry, kept in zip(registries, before, strict=True):
            registry.clear()
            registry.update(kept)
    module.__dict__["__registered_names__"] = registered
    return _by_name(module)


def _is_offered(value: Any, module: str) -> bool:
    """Whether code defines a class or function, or has imported a layer that is not Keras' own."""
    place = getattr(value, "__module__", None)
    if place == module:
        return callable(value)
    layer = isinstance(value, type) and issubclass(value, keras().layers.Layer)
    return layer and str(place).partition(".")[0] != "keras"


def _by_name(module: ModuleType) -> Mapping[str, Any]:
    """What a module defines, by the names that Keras writes: plain, and with the package it is registered in."""
    registered, found = module.__dict__["__registered_names__"], dict[str, Any]()
    for name, value in vars(module).items():
        if _is_offered(value, module.__name__):
            found |= {name: value, f"Custom>{name}": value}
            if value in registered:
                found[registered[value]] = value
    return found
