"""What an executor is: it compiles the functions of one model, and says how they fail."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from model.pixels import Floats

if TYPE_CHECKING:
    from model.bundle import Bundle

Compiled: TypeAlias = Callable[..., list[Floats]]  # arrays [n, ...] -> what the function gives, float32 [n, ...] each


class ModelError(Exception):
    """A model fails for what it is given.

    Args:
      reason: in one line, which does not depend on what else the process has done.
      out_of_memory: fewer rows at once may succeed.
    """

    def __init__(self, reason: str, *, out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.out_of_memory = reason, out_of_memory


class Executor(ABC):
    """The functions of one loaded model, which any number of threads may call.

    Attributes:
      name: in the registry.
      any_rows: on this processor, the bits of a row do not depend on how many rows are called with it; else every
        function is called with one fixed number of rows.
      compiled: the functions come compiled, each by itself, for any number of rows. Each is compared with the golden
        outputs then, and ``any_rows`` is tried with them.
    """

    name: ClassVar[str]
    any_rows: bool = False
    compiled: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def runs(cls, bundle: "Bundle") -> bool:
        """Whether it can run a bundle in this process."""

    @classmethod
    @abstractmethod
    def load(cls, bundle: "Bundle") -> "Executor":
        """Load the model of a bundle that it runs.

        Raises:
          BundleError: the model is damaged, unsafe, or not the one that the bundle describes.
        """

    @abstractmethod
    def compile(self, function: str, dtype: str, rows: int | None, sides: Sequence[int] = ()) -> Compiled:
        """One function of the model, compiled; calls raise ``ModelError`` where the model fails.

        Args:
          function: ``encode``, ``encode_variance``, ``encode_all``, ``reconstruct``, ``decode`` or ``restore``, as in
            ``Runtime``. Of a conditional model it takes the conditions as last array, float32
            ``[n, Condition.length]``.
          dtype: of the first array that the function takes: uint8, uint16, or float32.
          rows: of every array; None for any number, which only a model of any size takes. Functions that come compiled
            take any, whatever it is.
          sides: (H, W) of the images, for ``decode`` (h, w) of the latents; () for any where the model takes any.

        Raises:
          ValueError: the model does not take this dtype, or does not have the shapes of its spec.
          TypeError: the model can only be compiled for given sides.
        """
