"""The tree of all errors that this project raises on purpose.

The number is the exit status of a process that ends with the error; after Ctrl-C it is 130 (``lake.cli.interrupt``).

```text
LatentlakeError                 1   anything else
├── UsageError                  2   wrong use, refused at launch, nothing written
│   ├── InputError                  no input matched, wrong format, wrong column
│   │   ├── NoRecordsError              a shard without records, which can tell no columns
│   │   └── NoColumnError               a shard has no column, feature, array or member of a name that was asked for
│   ├── BundleError                 a model bundle that is damaged, mismatched or unsafe
│   └── OutputError                 an output that may not be written to
├── UnfinishedError             3   finished, but failed units or the gate withhold _SUCCESS
├── ImageError                      one image cannot be used: its record is rejected (lake.images.types)
├── ShardError                      a damaged shard: its unit fails, the job goes on
│   └── UnreadableError                 the store failed, or the shard changed during the job: a retry may help
├── RejectsError                    a unit has too many rejects: it fails, the job goes on
├── HeldError                   4   another run holds the lease on this output
└── VerifyError                 3   an output that differs from its manifest
```
"""

from lake.core.printable import printable

_MOST = 2000  # characters of a message


class LatentlakeError(Exception):
    """Base class of every error that this project raises on purpose.

    The message names the offending value and what to do about it.

    Attributes:
      exit_status: exit status of a process that ends with this error.
    """

    exit_status = 1

    def __str__(self) -> str:
        # Messages quote names and texts of data, and are printed, logged and kept in receipts.
        return printable(super().__str__(), _MOST)


class UsageError(LatentlakeError):
    """Wrong use, refused at launch before anything is written."""

    exit_status = 2


class InputError(UsageError):
    """The input cannot be read as requested: nothing matched, or the format or a column is wrong."""


class NoRecordsError(InputError):
    """A shard has no records, so that it cannot tell which columns there are. Another shard may."""


class NoColumnError(InputError):
    """A shard has no column, feature, array or member of a name that was asked for. One of another format may.

    Args:
      message: what is missing where, and what there is.
      field: the field of ``ColumnSelection`` that asks for it.
      name: the name as it was asked for; "" where there is one only.
    """

    def __init__(self, message: str, field: str = "", name: str = "") -> None:
        super().__init__(message)
        self.field, self.name = field, name


class BundleError(UsageError):
    """A model bundle or Keras file is damaged, does not match, or is unsafe to load."""


class OutputError(UsageError):
    """The output directory holds something that this job must neither mix with nor replace."""


class UnfinishedError(LatentlakeError):
    """The job ran to its end, but failed units or the gate withhold ``_SUCCESS``."""

    exit_status = 3


class HeldError(LatentlakeError):
    """Another run holds the lease on this output. The lease of a run that died expires by itself."""

    exit_status = 4


class RejectsError(LatentlakeError):
    """A unit has more rejected records than one may have."""


class VerifyError(LatentlakeError):
    """An output differs from what its manifest says."""

    exit_status = 3


class ShardError(LatentlakeError):
    """A shard is damaged. Nothing after the damage can be trusted.

    Args:
      shard: path of the shard, relative to the input root.
      problem: what is wrong, in words.
      offset: byte offset of the damage, if known.
    """

    def __init__(self, shard: str, problem: str, offset: int | None = None) -> None:
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{shard}: {problem}{at}")
        self.shard, self.problem, self.offset = shard, problem, offset

    # Beam pickles errors between processes. By default the class would be called with the message alone.
    def __reduce__(self) -> tuple[type["ShardError"], tuple[str, str, int | None]]:
        return type(self), (self.shard, self.problem, self.offset)


class UnreadableError(ShardError):
    """The bytes of a shard could not be read: the store failed, or the object is gone or was replaced since planning.

    This says nothing about the shard's content, so no record is counted as lost. A retry may succeed.
    """
