"""Guards whose lease is an object that says whose it is, for tests of stores without runs."""

from dataclasses import dataclass, field

from lake.core.errors import HeldError
from lake.storage import Guard


@dataclass
class Lease:
    """The lease of a directory; ``owner`` as its object says it. ``looks`` counts how often that was looked at.

    sure: whether a look a moment ago is remembered.
    """

    directory: str
    sure: bool = True
    looks: list[bytes | None] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"{self.directory}/_hold"

    def guard(self, owner: str = "mine") -> Guard:
        def check(data: bytes | None) -> None:
            self.looks.append(data)
            if data != owner.encode():
                raise HeldError(f"{owner} lost it to {data!r}")

        return Guard(
            run=owner,
            lease=self.uri,
            staging=f"{self.directory}/_staged/{owner}",
            check=check,
            confirmed=lambda: self.sure,
        )
