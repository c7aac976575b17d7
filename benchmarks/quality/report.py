"""``quality.md``: the tables of what was measured, one block for each machine."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.quality.networks import COLOR, GRAY
from benchmarks.quality.peers import LEVEL, OTHERS
from benchmarks.quality.place import RESULTS
from benchmarks.quality.protocol import LEVELS
from benchmarks.quality.published import PUBLISHED
from benchmarks.quality.sections import SECTIONS
from harness.machine import by_machine, on_machine

_Lines = Iterator[str]
_EXACT = 120.0  # dB, beyond which only the rounding of float32 is left


def write_report(found: Mapping[str, Any]) -> None:
    """Make ``quality.md`` of the sections measured.

    Args:
      found: what ``quality.json`` has.
    """
    machines = found.get("machines", {})
    lines = ["# Quality", "", _HEAD]
    for used, names in by_machine({name: machines.get(name) for name in SECTIONS if name in found}):
        lines += [on_machine(used, names), ""]
        for name in names:
            lines += [f"## {name}", "", _summary(name), "", *table_of(name, found), ""]
    (RESULTS / "quality.md").write_text("\n".join(lines).rstrip() + "\n")


def table_of(name: str, found: Mapping[str, Any]) -> _Lines:
    """The lines of a section's table.

    Args:
      name: of the section.
      found: section -> what it measured, and the ``machines`` of each.
    """
    if name in _TABLES:
        return _TABLES[name](name, found[name])
    machines = found.get("machines", {})
    same = machines.get(name) == machines.get("peers")
    return _of_set(name, found[name], found.get("peers", {}).get(name, {}) if same else {})


_HEAD = """\
Denoising by the protocol of papers, beside what people use, and by what is done with the images afterwards. By
`python -m benchmarks.quality --data DIR`, each network through this project's own denoiser on ONNX Runtime. Mean PSNR
in dB over the images of a set, of each image over all of its channels. Noise is white and Gaussian, with a fixed seed
for each image, neither clipped nor quantised, and networks are told its level (15 is a standard deviation of 15 where
white is 255). In brackets what the papers have. Times are of one processor with one thread, on the first images of the
set (section peers). [Benchmarks](../README.md#quality) says where sets and weights come from.
"""


def _summary(name: str) -> str:
    return " ".join((SECTIONS[name].__doc__ or "").replace("``", "`").split())


def _table(head: list[str], rows: Iterator[list[str]]) -> _Lines:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _of_set(name: str, found: Mapping[str, Any], timed: Mapping[str, Any]) -> _Lines:
    if why := found.get("absent"):
        yield f"Not measured: {why}."
        return
    methods = {name: found[name] for name in dict.fromkeys((*COLOR, *GRAY)) if name in found}
    noisy = next(
        ({level: one[level]["noisy"] for level in map(str, LEVELS)} for one in methods.values() if "15" in one), {}
    )
    shown = ", ".join(f"{value:.2f}" for value in noisy.values())
    yield f"{found['images']} images; the noisy ones have {shown} dB."
    yield ""
    head = ["", "MFLOP per pixel", "s per megapixel", *(f"noise {level}" for level in LEVELS), "rounded to 8 bits"]
    rows = dict(_with_others(name, methods, timed, whole=found["images"]))
    yield from _table(head, (_method(name, method, one, timed.get(method, {})) for method, one in rows.items()))


def _with_others(
    name: str, methods: Mapping[str, Any], timed: Mapping[str, Any], whole: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What was measured on the set, then what papers and peers have: of a peer PSNR only if it saw the whole set."""
    yield from methods.items()
    for other in dict.fromkeys((*PUBLISHED[name], *(peer for peer in OTHERS if peer in timed))):
        if other not in methods:
            side = timed.get(other, {}) if timed.get("images") == whole else {}
            yield other, {str(LEVEL): side} if "psnr" in side else {}


def _method(name: str, method: str, one: Mapping[str, Any], timed: Mapping[str, Any]) -> list[str]:
    if why := one.get("absent"):
        return [method, why, "", "", "", "", ""]
    paper = PUBLISHED[name].get(method, {})
    cells = [_beside(one.get(str(level), {}).get("psnr"), paper.get(level)) for level in LEVELS]
    eight = ", ".join(f"{one[str(level)]['rounded']:.2f}" for level in LEVELS if "rounded" in one.get(str(level), {}))
    cost = f"{one['mflop_per_pixel']:.2f}" if "mflop_per_pixel" in one else ""
    seconds = f"{timed['seconds_per_megapixel']:.2f}" if "seconds_per_megapixel" in timed else ""
    return [method, cost, seconds, *cells, eight]


def _beside(measured: float | None, paper: float | None) -> str:
    """A figure, and a paper's in brackets."""
    own = "" if measured is None else f"{measured:.2f}"
    return f"{own} ({paper:.2f})".strip() if paper else own


def _of_command(_: str, found: Mapping[str, Any]) -> _Lines:
    same = "every bit is the same" if found["same_bits"] else "NOT all bits are the same"
    yield f"The first {found['images']} of bsd68: {found['psnr']:.2f} dB, and {same}."


def _of_bfloat16(_: str, found: Mapping[str, Any]) -> _Lines:
    rows = (
        [name, *(f"{one[side]:.3f}" for side in ("float32", "bfloat16")), f"{one['bfloat16'] - one['float32']:+.3f}"]
        for name, one in found.items()
    )
    yield from _table(["", "float32", "bfloat16", "difference"], rows)


def _of_harm(_: str, found: Mapping[str, Any]) -> _Lines:
    levels = ("0", "1", "2", "5")
    head = ["", "images", *(f"noise {level}: PSNR before, after" for level in levels)]

    def rows() -> Iterator[list[str]]:
        for denoiser, groups in found.items():
            if why := groups.get("absent"):
                yield [denoiser, why, *[""] * len(levels)]
                continue
            for group, one in groups.items():
                yield [denoiser, group, *(_change(one[level]) if level in one else one["absent"] for level in levels)]

    yield from _table(head, rows())


def _change(one: Mapping[str, Any]) -> str:
    if one["noisy"] > _EXACT:
        return ", ".join("∞" if one[side] > _EXACT else f"{one[side]:.2f}" for side in ("noisy", "psnr"))
    return f"{one['noisy']:.2f}, {one['psnr']:.2f} ({one['psnr'] - one['noisy']:+.2f})"


def _of_peers(_: str, found: Mapping[str, Any]) -> _Lines:
    for name, one in found.items():
        if why := one.get("absent"):
            yield from (f"{name} not measured: {why}.", "")
            continue
        head = [f"{name}, first {one['images']}, noise {LEVEL}", "PSNR", "seconds of a processor per megapixel"]
        yield from _table(head, (_peer(method, side) for method, side in one.items() if method != "images"))
        yield ""


def _peer(method: str, one: Mapping[str, Any]) -> list[str]:
    if why := one.get("absent"):
        return [method, why, ""]
    return [method, f"{one['psnr']:.2f}", f"{one['seconds_per_megapixel']:.2f}"]


def _of_recognition(_: str, found: Mapping[str, Any]) -> _Lines:
    def rows() -> Iterator[list[str]]:
        for name, one in found.items():
            if why := one.get("absent"):
                yield [name, why, *[""] * len(LEVELS)]
                continue
            yield [name, "clean", *[f"{one['clean']:.2%}"] * len(LEVELS)]
            for what in one[str(LEVELS[0])]:
                values = [one[str(level)][what] for level in LEVELS]
                yield [name, what, *(value if isinstance(value, str) else f"{value:.2%}" for value in values)]

    yield from _table(["", "accuracy on", *(f"noise {level}" for level in LEVELS)], rows())


def _of_spots(_: str, found: Mapping[str, Any]) -> _Lines:
    def cell(one: Mapping[str, float]) -> str:
        return f"{one['count_error_percent']:.1f}%, {one['f1']:.3f}"

    head = ["error of the count, F1 of spots", "noisy", "denoised", "clean"]
    levels = ((level, one) for level, one in found.items() if level != "clean")
    rows = (
        [f"noise {level}", cell(one["noisy"]), cell(one["denoised"]), cell(found["clean"])] for level, one in levels
    )
    yield from _table(head, rows)


def _of_mnist(_: str, found: Mapping[str, Any]) -> _Lines:
    def rows() -> Iterator[list[str]]:
        for name, wanted in (("linear probe", "98%"), ("5 nearest neighbours", "97%")):
            alone = found[f"{name}, test set alone"]
            what = f"latents of {found['dimension']}, {name} (cross-validated on the test set alone: {alone:.2%})"
            yield [what, f"{found[name]:.2%}", f"at least {wanted}"]

    yield from _table(["what", "measured", "wanted"], rows())


def _of_vae(_: str, found: Mapping[str, Any]) -> _Lines:
    other, bound = found["elbo, pixels above one half"], found["elbo, pixels drawn"]
    what = f"ELBO of the test set in nats (pixels above one half instead of drawn: {other:.2f})"
    yield from _table(
        ["what", "measured", "wanted"], iter([[what, f"{bound:.2f}", "at least -95; good small VAE -86"]])
    )


_TABLES: dict[str, Callable[[str, Mapping[str, Any]], _Lines]] = {
    "command": _of_command,
    "bfloat16": _of_bfloat16,
    "harm": _of_harm,
    "peers": _of_peers,
    "recognition": _of_recognition,
    "spots": _of_spots,
    "mnist": _of_mnist,
    "vae": _of_vae,
}
