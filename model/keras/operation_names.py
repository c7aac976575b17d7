"""Names of the operations of a model that do not depend on what a process has built before."""

import re
from collections import Counter
from typing import Any

from lake.core.tensorflow import keras


def with_own_names(model: Any) -> Any:
    """Name the operations of a new model that are not layers, and return it: equal models have equal names.

    Keras numbers operations (``x - mean`` is one) through a process, so that a second equal model would have others,
    and a bundle another digest. Here they are numbered through the model, as in the first one of a process.

    Args:
      model: a functional Keras model that nobody else has yet. Its layers keep their names.
    """
    counts = Counter[str]()
    for operation in model.operations:
        if not isinstance(operation, keras().layers.Layer):
            kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(operation).__name__).lower()
            operation.name = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
    return model
