"""A file of Python with layers of somebody's own, which a model's file names and does not hold."""

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable

CODE_FILE = "code.py"  # in a bundle
_MAX_BYTES = 1 << 20
_NAMES = 20  # classes that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A file of Python that defines or imports classes, which has not been run.

    Attributes:
      name: of the file, for people.
      data: its bytes.

    >>> Code(name="my.py", data=b"class Scale(keras.Layer): ...").classes
    ('Scale',)
    """

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes, as 64 hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it defines, and of what it imports by name, as its text says.

        Raises:
          UsageError: it is not Python.
        """
        try:
            tree = ast.parse(self.data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            raise UsageError(f"{self.name}{line}: not Python: {printable(str(error))}") from error
        defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
        return (*defined, *(name for name in imported if name[0].isupper()))

    def describe(self) -> str:
        """Describe the file for a person who is to decide whether to run it."""
        names = ", ".join(self.classes[:_NAMES]) + (", …" if len(self.classes) > _NAMES else "")
        return f"{self.name}: {len(self.data):,} bytes, SHA-256 {self.sha256}, classes: {names or 'none'}"


def read_code(path: Path) -> Code:
    """Read a file of Python. It is not run.

    Raises:
      UsageError: it cannot be read, is too large, or is not Python.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--code {path}: cannot be read: {error.strerror}; name a file of Python") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"--code {path}: more than {_MAX_BYTES:,} bytes; name a file that holds the layers alone")
    code = Code(name=str(path), data=data)
    if not code.classes:
        raise UsageError(f"--code {path}: has no class; name the file that defines the model's own layers")
    return code


def refuse_code(where: str) -> BundleError:
    """The error for a bundle whose code nobody has allowed to run."""
    return BundleError(
        f"{where}: its model has code of its own, {CODE_FILE}, which TensorFlow would run: read it, and add "
        f"--allow-code if you trust it; a bundle that converts to ONNX runs without it"
    )
