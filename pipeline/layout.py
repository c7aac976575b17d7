"""Names below an output: data in directories, the job's own state in names that begin with ``_``.

<output>/latents/<unit>.parquet      encode, reconstruct: one table per unit, the input tree mirrored
<output>/metrics/<unit>.parquet      denoise: the same
<output>/images/<shard>              images, called as the input's shards are, or after the unit
<output>/error_maps/<shard>          the same, on request
<output>/rejects/<unit>.parquet      only where the unit has rejects
<output>/_model/<digest>/            the bundle that made the latents
<output>/_hold                       the run that writes to this output, while there is one
<output>/_job.json                   what the output holds: verb, model, options
<output>/_plan/<run>/                the run's units (while it lasts) and its summary
<output>/_receipts/<unit>.json       units finished since the last commit
<output>/_manifest.parquet           all units of the current state
<output>/_SUCCESS                    summary, written last
"""

from dataclasses import dataclass

from pipeline.storage import join

MODELS = "_model"
LATENTS, METRICS, IMAGES, MAPS, REJECTS = "latents", "metrics", "images", "error_maps", "rejects"
DATA = (LATENTS, METRICS, IMAGES, MAPS, REJECTS)


@dataclass(frozen=True, slots=True)
class Layout:
    """URIs below one output. Names of data are relative to it, so an output can be moved as a whole."""

    output: str

    def at(self, name: str) -> str:
        """The URI of a name relative to the output."""
        return join(self.output, name)

    @property
    def job(self) -> str:
        """What the output holds."""
        return self.at("_job.json")

    @property
    def hold(self) -> str:
        """The run that writes to this output."""
        return self.at("_hold")

    @property
    def manifest(self) -> str:
        """All units of the current state."""
        return self.at("_manifest.parquet")

    @property
    def success(self) -> str:
        """The mark of a complete output."""
        return self.at("_SUCCESS")

    @property
    def receipts(self) -> str:
        """Directory of the receipts since the last commit."""
        return self.at("_receipts")

    def receipt(self, unit: str) -> str:
        """Receipt of one unit."""
        return self.at(f"_receipts/{unit}.json")

    def model(self, digest: str) -> str:
        """Directory of the bundle with this digest."""
        return self.at(f"{MODELS}/{digest}")

    @property
    def plans(self) -> str:
        """Directory of the runs' plans and summaries."""
        return self.at("_plan")

    def plan(self, run: str) -> str:
        """Directory of one run's plan and summary."""
        return join(self.plans, run)

    def obsolete(self, run: str) -> str:
        """Ids of units that one run's commit drops."""
        return join(self.plan(run), "obsolete.json")

    def summary(self, run: str) -> str:
        """Summary of one run."""
        return join(self.plan(run), "summary.json")


def latents_name(unit: str) -> str:
    """Name of a unit's latent table, relative to the output."""
    return f"{LATENTS}/{unit}.parquet"


def metrics_name(unit: str) -> str:
    """Name of a unit's table of metrics, relative to the output."""
    return f"{METRICS}/{unit}.parquet"


def rejects_name(unit: str) -> str:
    """Name of a unit's rejects, relative to the output."""
    return f"{REJECTS}/{unit}.parquet"
