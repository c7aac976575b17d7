"""The errors of the job, in one tree.

LatentlakeError                 1   anything else
├── UsageError                  2   wrong use, refused at launch, nothing written
│   ├── InputError                  no input matched, wrong format, wrong column
│   ├── BundleError                 a model bundle that is damaged, mismatched or unsafe
│   └── OutputError                 an output that may not be written to
├── UnfinishedError             3   finished, but failed units or the gate keep _SUCCESS back
├── ImageError                      one image cannot be used: its record is rejected (pipeline.images.base)
├── ShardError                      damage to a container: its unit fails, the job goes on
│   └── UnreadableError                 its store failed, or it changed under the job's hands: reading again may help
├── HeldError                   4   another run holds this output
└── VerifyError                 3   an output that is not what its manifest says

The number is the exit status of the process that the error ends.
"""


class LatentlakeError(Exception):
    """Every error that this project raises on purpose; its text names the value and the remedy."""

    exit_status = 1


class UsageError(LatentlakeError):
    """Wrong use: refused at launch, before anything is written."""

    exit_status = 2


class InputError(UsageError):
    """The input cannot be read as asked: nothing matched, or the format or a column is wrong."""


class BundleError(UsageError):
    """A model bundle or Keras file that is damaged, mismatched or unsafe to load."""


class OutputError(UsageError):
    """The output holds something that this job must not mix with or replace."""


class UnfinishedError(LatentlakeError):
    """The job ran to its end, but failed units or the gate keep ``_SUCCESS`` back."""

    exit_status = 3


class HeldError(LatentlakeError):
    """Another run holds this output; a run that died lets go of it by itself."""

    exit_status = 4


class VerifyError(LatentlakeError):
    """An output is not what its manifest says."""

    exit_status = 3


class ShardError(LatentlakeError):
    """A container is damaged; what follows the damage cannot be trusted.

    Args:
      shard: path of the shard relative to the input root.
      problem: what is wrong, in words.
      offset: byte offset of the damage, where it is known.
    """

    def __init__(self, shard: str, problem: str, offset: int | None = None) -> None:
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{shard}: {problem}{at}")
        self.shard, self.problem, self.offset = shard, problem, offset

    def __reduce__(self) -> tuple[type["ShardError"], tuple[str, str, int | None]]:
        return type(self), (self.shard, self.problem, self.offset)


class UnreadableError(ShardError):
    """A shard's bytes could not be had: the store failed, or the object is gone or another than was planned.

    Says nothing of what the shard holds, so nothing of it is given up as lost; reading it again may help.
    """
