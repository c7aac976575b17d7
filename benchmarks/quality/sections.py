"""The sections, in the order of the report."""

from collections.abc import Callable
from typing import Any

from benchmarks.quality.digits import mnist, vae
from benchmarks.quality.peers import peers
from benchmarks.quality.place import Place
from benchmarks.quality.recognition import recognition
from benchmarks.quality.sets import bfloat16, command, harm, measured_set
from benchmarks.quality.spots import spots

SECTIONS: dict[str, Callable[[Place], dict[str, Any]]] = {
    **{name: measured_set(name, "L") for name in ("bsd68", "set12")},
    **{name: measured_set(name, "RGB") for name in ("CBSD68", "Kodak24", "McMaster")},
    "peers": peers,
    "command": command,
    "bfloat16": bfloat16,
    "harm": harm,
    "recognition": recognition,
    "spots": spots,
    "mnist": mnist,
    "vae": vae,
}
