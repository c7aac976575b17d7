"""The names of the files in an output.

Data is in directories. The job's own state has names that begin with ``_``, which query engines ignore.

```
<output>/latents/<unit>.parquet      encode, reconstruct: one table per unit; mirrors the directories of the input
<output>/latents/<unit>.<version>.parquet   the same with --table, whose files never change
<output>/latents/<unit>.tar          the same with --latent-format webdataset; mds: <unit>/shard.00000.mds, index.json
<output>/latents/<unit>.arrayrecord  the same with --latent-format arrayrecord; <unit>.json says what made it
<output>/latents/<column>=<value>/<unit>.parquet   with --partition-by; metrics/ likewise
<output>/metrics/<unit>.parquet      denoise: one table per unit
<output>/images/<shard>              images, named after the input's shards, or after the unit
<output>/error_maps/<shard>          error maps, on request
<output>/rejects/<unit>.parquet      rejected records; only for units that have some
<output>/_model/<digest>/            copy of the bundle
<output>/_hold                       lease of the run that writes to this output, while there is one
<output>/_staged/<run>/              in an object store: what a run is about to put in the place of other objects
<output>/_job.json                   what the output holds: verb, model, options
<output>/_cuts.json                  where giant shards of the input are cut into slices; only where there are some
<output>/_plan/<run>/                units of a run and those that failed, while it lasts, and its summary
<output>/_receipts/<unit>.json       receipts of units since the last commit
<output>/_reuse/                     with --reuse, while a run lasts: an index of latents, and tables that it replaces
<output>/_manifest.parquet           all units of the committed state; of very many the root of its parts
<output>/_manifest/<hash>.parquet    parts of a manifest of very many units
<output>/_table.json                 with --table, the table of a lake's catalog that has the latents, and its snapshot
<output>/_iceberg/                   with --table iceberg and no --catalog, the catalog and the metadata of that table
<output>/_ducklake/                  with --table ducklake and no --catalog, the catalog of that table
<output>/README.md                   with --card, a dataset card; of a page that is the user's, one part
<output>/croissant.json              with --croissant, the same in Croissant; further entries are the user's
<output>/_SUCCESS                    summary of the run that completed the output; written last
```
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lake.formats.common.parquet_table import visible
from lake.storage import Stat, join, store_for
from lake.storage.store import EVERYTHING, Listing

MODELS = "_model"
LATENTS, METRICS, IMAGES, MAPS, REJECTS = "latents", "metrics", "images", "error_maps", "rejects"
DATA = (LATENTS, METRICS, IMAGES, MAPS, REJECTS)


@dataclass(frozen=True, slots=True)
class Layout:
    """URIs of the files in one output.

    Names of data files are relative to the output, so that it can be moved as a whole.

    Attributes:
      output: URI of the output, without a slash at the end.

    >>> layout = Layout("gs://lake/latents")
    >>> layout.receipt("train/a-00000")
    'gs://lake/latents/_receipts/train/a-00000.json'
    >>> layout.at(table_name(LATENTS, "train/a-00000"))
    'gs://lake/latents/latents/train/a-00000.parquet'
    """

    output: str

    def at(self, name: str) -> str:
        """Return the URI of a name relative to the output."""
        return join(self.output, name)

    @property
    def job(self) -> str:
        """URI of the job file."""
        return self.at("_job.json")

    @property
    def cuts(self) -> str:
        """URI of what the output knows of cuts in giant shards."""
        return self.at("_cuts.json")

    @property
    def lease(self) -> str:
        """URI of the lease."""
        return self.at("_hold")

    @property
    def staged(self) -> str:
        """URI of the directory where all runs stage what replaces objects."""
        return self.at("_staged")

    def staging(self, run: str) -> str:
        """Return the URI of the directory where one run stages what replaces objects."""
        return join(self.staged, run)

    @property
    def manifest(self) -> str:
        """URI of the manifest."""
        return self.at("_manifest.parquet")

    @property
    def manifest_parts(self) -> str:
        """URI of the directory of the manifest's parts."""
        return self.at("_manifest")

    @property
    def table(self) -> str:
        """URI of what the output says of its table in a lake's catalog."""
        return self.at("_table.json")

    @property
    def card(self) -> str:
        """URI of the dataset card."""
        return self.at("README.md")

    @property
    def croissant(self) -> str:
        """URI of the description in Croissant."""
        return self.at("croissant.json")

    @property
    def success(self) -> str:
        """URI of ``_SUCCESS``, the mark of a complete output."""
        return self.at("_SUCCESS")

    @property
    def receipts(self) -> str:
        """URI of the directory of receipts."""
        return self.at("_receipts")

    def receipt(self, unit: str) -> str:
        """Return the URI of a unit's receipt."""
        return self.at(f"_receipts/{unit}.json")

    def model(self, digest: str) -> str:
        """Return the URI of the copy of the bundle with this digest."""
        return self.at(f"{MODELS}/{digest}")

    @property
    def plans(self) -> str:
        """URI of the directory of all runs' plans and summaries."""
        return self.at("_plan")

    def plan(self, run: str) -> str:
        """Return the URI of the directory of one run's plan and summary."""
        return join(self.plans, run)

    def run_file(self, run: str) -> str:
        """Return the URI of the file that says what a run set out to do."""
        return join(self.plan(run), "run.json")

    def failures(self, run: str) -> str:
        """Return the URI of the directory of the receipts of a run's failed units."""
        return join(self.plan(run), "failed")

    def failure(self, run: str, unit: str) -> str:
        """Return the URI of the receipt of a failed unit."""
        # Not .json: whatever a unit is called, this must not look like a run's summary, which stays after the commit.
        return join(self.failures(run), f"{unit}.receipt")

    def obsolete(self, run: str) -> str:
        """Return the URI of the list of units that a run's commit drops."""
        return join(self.plan(run), "obsolete.json")

    def recovered(self, run: str) -> str:
        """Return the URI of what a run counts on, and what it does not, of runs that did not come to their end."""
        return join(self.plan(run), "recovered.json")

    def ranges(self, run: str) -> str:
        """Return the URI of the list of ranges of units that workers commit one by one."""
        return join(self.plan(run), "ranges.json")

    def range_file(self, run: str, number: int, kind: str) -> str:
        """Return the URI of a file about one of these ranges, by what it has."""
        return join(self.plan(run), "ranges", f"{number:05d}.{kind}")

    def companions(self, run: str) -> str:
        """Return the URI of the list of files that a run's commit copies beside the images."""
        return join(self.plan(run), "companions.json")

    def summary(self, run: str) -> str:
        """Return the URI of a run's summary."""
        return join(self.plan(run), "summary.json")

    @property
    def reuse(self) -> str:
        """URI of the directory of what runs keep for reuse."""
        return self.at("_reuse")

    @property
    def kept_tables(self) -> str:
        """URI of the directory of copies of tables that a run is about to replace."""
        return join(self.reuse, "tables")

    def kept_table(self, fingerprint: str, number: int) -> str:
        """Return the URI of the copy of a table, by its unit's fingerprint and its number in the unit."""
        return join(self.kept_tables, f"{fingerprint}-{number}.parquet")

    def reuse_index(self, run: str) -> str:
        """Return the URI of the directory of a run's index of earlier latents."""
        return join(self.reuse, run)

    def mark(self, run: str, name: str) -> str:
        """Return the URI of the mark of a unit that a run has begun."""
        return join(self.plan(run), "begun", f"{name}.json")

    def replaced(self, run: str, name: str) -> str:
        """Return the URI of the mark of a finished unit whose files a run replaces."""
        return join(self.plan(run), "replaced", f"{name}.json")

    def running(self, run: str) -> str:
        """Return the URI of the directory where a run's long units say how far they are."""
        return join(self.plan(run), "running")

    def stop(self, run: str) -> str:
        """Return the URI of the file that says why a run has ended before its units were done."""
        return join(self.plan(run), "stop.json")


def table_name(directory: str, unit: str, version: str = "") -> str:
    """Return the name of a unit's table in one of the data directories, relative to the output.

    No part of it begins with a dot or an underscore: Arrow and Spark would not read the table.

    Args:
      directory: of the data.
      unit: id of the unit.
      version: of the file, where each has a name of its own; see ``pipeline.config.table_version``.

    >>> table_name(METRICS, "photos/part-00000"), table_name(METRICS, "_train"), table_name(LATENTS, "a", "0f")
    ('metrics/photos/part-00000.parquet', 'metrics/%5Ftrain.parquet', 'latents/a.0f.parquet')
    """
    return f"{directory}/{visible(unit)}{version and f'.{version}'}.parquet"


def partitioned_name(directory: str, partition: str, unit: str, version: str = "") -> str:
    """Return the name of what a unit's table holds of one partition, relative to the output.

    The partition comes before the directories of the input: so all engines find it, BigQuery too.

    Args:
      directory: of the data.
      partition: name of the partition's directory.
      unit: id of the unit.
      version: as of ``table_name``.

    >>> partitioned_name(LATENTS, "label=7", "train/part-00000")
    'latents/label=7/train/part-00000.parquet'
    """
    return table_name(f"{directory}/{partition}", unit, version)


def rejects_name(unit: str) -> str:
    """Return the name of a unit's table of rejects, relative to the output."""
    return table_name(REJECTS, unit)


def files_below(directory: str, listing: Listing = EVERYTHING) -> Iterator[Stat]:
    """Yield the files below a directory, none if it does not exist. One request for each page of a listing.

    Args:
      directory: its URI.
      listing: which of them.
    """
    try:
        yield from store_for(directory).list(directory, listing)
    except FileNotFoundError:
        return
