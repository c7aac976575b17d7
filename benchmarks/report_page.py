"""What a report costs: of a million latents, and of 20,000 denoised photographs in tars.

    python -m benchmarks.report_page --data DIR [--records 1000000] [--photographs 20000] [--work DIR]

Latents are those of ``benchmarks.explore``, with 50 equal copies, 20 outliers, and a unit that has drifted.
``--data`` holds the folder ``bsd400`` of ``benchmarks.data``: its photographs are denoised once, and the tars of input
and output are copied as often as is needed. Each report is a command of its own. Its first sentence is written down,
and so are seconds, peak memory and the size of the page. Writes ``benchmarks/results/report.md``.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import make
from benchmarks.explore import synthetic, write_output
from harness.machine import machine, on_machine
from lake.core.records import OutputFile
from pipeline.calls.functions import denoise
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest, write_manifest
from pipeline.output.units.receipts import Receipt

RESULT = Path(__file__).parent / "results/report.md"
_ROOT = Path(__file__).parent.parent
_COPIES, _OUTLIERS = 50, 20
_TAR = 500  # photographs


def planted(count: int) -> np.ndarray:
    """Clustered latents float32 ``[count, 128]`` with copies, outliers, and a last tenth that has drifted."""
    generator = np.random.default_rng(1)
    values = synthetic(count)
    values[-count // 10 :, 7] += 3
    values[count // 2 : count // 2 + _COPIES] = values[:_COPIES]
    values[count // 3 : count // 3 + _OUTLIERS] = 30 * generator.standard_normal((_OUTLIERS, values.shape[1]))
    return values


def photographs(data: Path, work: Path, count: int) -> str:
    """The output of ``denoise`` over tars of photographs."""
    tars = make("bsd-tar", data, work, min(count, _TAR))
    (tar,) = tars.glob("*.tar")
    output = work / "photographs"
    denoise(f"{tars}/*.tar", model="zoo:denoiser-gray", noise_level="estimate", output=output)
    layout = Layout(str(output))
    (receipt,) = read_manifest(layout).values()
    receipts = [receipt]
    for number in range(1, -(-count // _TAR)):
        name = f"copy-{number:05d}"
        shutil.copy(tar, tars / f"{name}.tar")
        receipts.append(_copy(output, receipt, name))
    write_manifest(layout, receipts)
    return str(output)


def _copy(output: Path, receipt: Receipt, name: str) -> Receipt:
    """A unit with the files of another one."""
    files = list[OutputFile]()
    for file in receipt.outputs:
        made = output / file.name.replace(receipt.unit, name)
        if made.suffix == ".parquet":
            table = pq.read_table(output / file.name)
            shard = [f"{name}.tar"] * len(table)
            at = table.schema.get_field_index("shard")
            pq.write_table(
                table.set_column(at, table.schema.field(at), [_dictionary(shard, table)]),
                made,
                write_page_checksum=True,
            )
        else:
            shutil.copy(output / file.name, made)
        files.append(replace(file, name=str(made.relative_to(output)), size=made.stat().st_size))
    return replace(receipt, unit=name, outputs=tuple(files))


def _dictionary(shard: list[str], table: pa.Table) -> pa.Array:
    return pa.array(shard).dictionary_encode().cast(table.schema.field("shard").type)


# A process has the peak of the one that it was forked from, so a small one starts it.
_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(done.stdout, end="")
"""


def measured(output: str, page: Path) -> tuple[str, str]:
    """Seconds, memory and size of a report; and what it says first."""
    begun = time.perf_counter()
    line = [sys.executable, "-m", "latentlake", "report", output, "--output-file", str(page)]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *line], cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    kilobytes, said = done.stdout.splitlines()[:2]
    seconds, peak, size = time.perf_counter() - begun, int(kilobytes) / 1e6, page.stat().st_size / 1e6
    return f"{seconds:.1f} s, {peak:.2f} GB, page of {size:.1f} MB", said


def reports(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, str, str]]:
    """Rows of the table: of what, what it cost, what it says."""
    if options.records:
        output = write_output(work / "latents", planted(options.records))
        yield (f"{options.records:,} records of 128 numbers", *measured(output, work / "latents.html"))
    if options.photographs:
        output = photographs(options.data, work, options.photographs)
        yield (f"{options.photographs:,} denoised photographs in tars", *measured(output, work / "photographs.html"))


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--photographs", type=int, default=20_000)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    lines = [
        "# What a report costs",
        "",
        "`python -m benchmarks.report_page`: `latentlake report` as a command of its own. Planted: 50 equal copies, 20",
        "outliers, and a unit that has drifted. Must be: at most 30 s, 1 GB and 10 MB.",
        "",
        on_machine(machine()),
        "",
        "| of | | its first sentence |",
        "|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for row in reports(options, Path(folder)):
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
    options.result.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
