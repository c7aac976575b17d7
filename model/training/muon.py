"""The optimizer Muon for networks of convolutions."""

from typing import Any

import numpy as np

from lake.core.tensorflow import keras

_SMALLEST = 16  # rows and columns of a kernel from which on its update is worth making orthogonal
_ADAM = {"adam_beta_2": 0.99, "adam_weight_decay": None}


def muon(learning_rate: float) -> Any:
    """Keras's Muon (Jordan 2024; Liu et al. 2025), which also takes kernels of convolutions.

    The momentum of a kernel ``[h, w, in, out]`` is seen as a matrix of h x w x in rows and out columns, and its nearest
    orthogonal matrix is the update, so that all directions are learnt equally fast. Variables of other shapes, and
    kernels with fewer than 16 rows or columns (those that read or write the image), get the updates of Adam.

    Args:
      learning_rate: largest root mean square of an update, times 5.

    >>> optimizer = muon(1e-3)
    >>> kernel, bias = (keras().Variable(np.zeros(shape, "float32")) for shape in ((3, 3, 16, 16), (16,)))
    >>> optimizer.build([kernel, bias])
    >>> [velocity is None for velocity in optimizer.adam_velocities]
    [True, False]
    """
    return _of_convolutions()(learning_rate, weight_decay=None, **_ADAM)


def _of_convolutions() -> Any:
    class MuonOfConvolutions(keras().optimizers.Muon):  # type: ignore[misc]
        def _should_use_adamw(self, variable: Any) -> bool:
            return len(variable.shape) != 4 or min(_matrix(variable.shape)) < _SMALLEST

        def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
            rows, columns = _matrix(x.shape)
            found = super().zeropower_via_newtonschulz5(keras().ops.reshape(x, (rows, columns)), steps)
            return keras().ops.reshape(found * max(rows, columns) ** 0.5 * 0.2, x.shape)

        def lr_adjust(self, x: Any) -> Any:
            return x  # done above, where the matrix is known

    return MuonOfConvolutions


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return int(np.prod(shape[:-1])), shape[-1]
