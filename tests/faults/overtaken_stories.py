"""Two runs on one output: what each of them does, and when the first is held up."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

EXPIRY = 3.0  # seconds that a lease lasts, instead of a minute
PATIENCE = 120.0  # seconds after which a request that hangs is given up
DEAD = "20200101T000000Z-aaaaaa"  # a run that died long ago

Job: TypeAlias = "tuple[int, str]"  # which model, and the folder of the shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What two runs do with one output.

    before: the job that has made the output.
    late: the job of the run that is held up.
    next: the job of the run that goes on without it.
    committed: whether the first is held up after its ``_SUCCESS``, in its clean-up, or before.
    options: more of the second.
    """

    name: str
    before: Job
    late: Job
    next: Job
    committed: bool
    options: Sequence[str] = ()

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


STORIES = (
    Story(name="late clean-up", before=(0, "in"), late=(0, "in"), next=(0, "more"), committed=True),
    Story(
        name="late clean-up mirrored",
        before=(0, "in"),
        late=(0, "more"),
        next=(0, "in"),
        committed=True,
        options=("--prune",),
    ),
    Story(name="late publish", before=(0, "in"), late=(1, "in"), next=(0, "in"), committed=False),
    Story(name="late publish mirrored", before=(1, "in"), late=(0, "in"), next=(1, "in"), committed=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a run is held up.

    number: of its request, among those of the part of the story that counts.
    delay: seconds after that request, on a disk.
    pause: seconds that it is held up for; None for as long as the next run takes.
    patience: seconds after which it gives up a request that hangs.
    """

    number: int
    delay: float = 0.0
    pause: float | None = None
    patience: float = PATIENCE

    @classmethod
    def random(cls, dice: random.Random, requests: int) -> "Moment":
        """Any of so many requests. Half of the pauses end before the next run does, or after its end."""
        return cls(
            number=dice.randrange(requests),
            delay=dice.choice((0.0, dice.uniform(0, 0.02))),
            pause=dice.choice((None, dice.uniform(0, 2.5 * EXPIRY))),
            patience=dice.choice((PATIENCE, 1.0)),
        )


def dead_lease() -> bytes:
    """What a run leaves that died long ago: the next one has to look for files that nothing names."""
    value = {"run": DEAD, "host": "h", "place": "", "pid": 1, "born": "2", "beat": 1e9}
    return json.dumps(value).encode() + b"\n"
