"""The content of a lease: who holds an output, since when it was last heard of, and whether it is alive."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from lake.core.printable import printable
from pipeline.output.state.state_values import Rule, check_fields, natural, number, utf8

EXPIRY = 60.0  # seconds after the last renewal until the run counts as dead
STARTUP = 1800.0  # seconds that the workers of a detached launcher have until their first renewal

_RULES: dict[str, Rule] = {
    "run": utf8,
    "host": utf8,
    "place": utf8,
    "pid": natural,
    "born": utf8,
    "beat": number,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The holder of an output. The field names are those of the file.

    Attributes:
      run: id of the run.
      host: name of its launcher's machine, for messages.
      place: boot id and process-id namespace in which ``pid`` is valid; "" if the end of the process says nothing about
        the run, as for a launcher that may detach.
      pid: id of the process with which the run ends.
      born: start time of that process, because ids are reused.
      beat: time of the last renewal on the store's clock, in seconds since the epoch.
    """

    run: str
    host: str
    place: str
    pid: int
    born: str
    beat: float

    def alive(self, now: float) -> bool:
        """Whether the run may still write.

        Args:
          now: the time of the store's clock.
        """
        age = now - self.beat
        # No run renews its lease further ahead than await_workers does, nor leaves it for so long. Whatever the file
        # says, it must not hold the output for ever.
        if abs(age) > STARTUP + EXPIRY:
            return False
        if self.place and self.place == this_place():
            return bool(self.born) and born(self.pid) == self.born
        return age < EXPIRY


def in_use_by(output: str, holder: Lease, now: float) -> str:
    """Say who holds an output, since when, and what to do."""
    host = printable(holder.host)
    return (
        f"{output} is in use by run {printable(holder.run)} (process {holder.pid} on {host}, {_heard(holder, now)})"
        f"; wait for its end, or {EXPIRY:.0f} s after it was killed, or name another --output"
    )


def _heard(holder: Lease, now: float) -> str:
    age = now - holder.beat
    if age < -EXPIRY:  # further ahead than clocks may differ: await_workers has set it
        return f"whose workers have {EXPIRY - age:.0f} s to begin"
    return f"last heard of {max(0.0, age):.0f} s ago"


def dump(lease: Lease) -> bytes:
    """Return the content of a lease's file."""
    return (json.dumps(asdict(lease)) + "\n").encode()


@lru_cache(maxsize=8)  # it is looked at before every write, and changes every few seconds
def parse(data: bytes) -> Lease | None:
    """Parse a lease; None if its writer was killed half-way, or if it is not what a run writes."""
    try:
        value = json.loads(data)
        check_fields(value, _RULES, whole=True)
        return Lease(**value)
    except (ValueError, TypeError, RecursionError):
        return None


def this_place() -> str:
    """Return this machine's boot id and process-id namespace; "" if they are not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def born(pid: int) -> str:
    """Return a process's start time in clock ticks since boot; "" if it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # proc(5): state is field 3, starttime field 22
