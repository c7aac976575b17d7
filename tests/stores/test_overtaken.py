"""On servers: requests of a run that arrive when another one has the output change nothing that this one committed."""

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.servers.gcs_server import GcsServer
from harness.servers.proxy import Fault, Proxy
from harness.servers.s3_server import S3Server
from lake.storage import StoreOptions, configure
from lake.storage.options import DEFAULTS
from pipeline.output.verify import verify
from tests.conftest import Model, make_model
from tests.faults.forkserver import Nursery
from tests.faults.outputs import files
from tests.faults.overtaken import CALL, Ends, Files, behind_a_proxy, check, dead_lease
from tests.faults.torture import make_shards

pytestmark = pytest.mark.timeout(900)

# Requests of a run that change something, but for those of the lease, as each server's clients make them.
CHANGES = {"s3": "PUT|POST|DELETE", "gs": "PUT|POST|DELETE"}
BELOW = "^{out}/(latents|images|rejects|_receipts|_manifest|_SUCCESS|_plan|_staged)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Jobs over shards on the disk, with one of two models, whose outputs are in a bucket of a server.

    get: an output as files.
    put: writes one object.
    """

    scheme: str
    nursery: Nursery
    disk: Path
    models: Sequence[str]
    bucket: str
    proxy: Proxy
    url: str
    get: Callable[[str, Path], Path]
    put: Callable[[str, bytes], None]
    clean: dict[tuple[int, str], Files]

    def command(self, output: str, model: int, source: str, *more: str, url: str = "") -> list[str]:
        named = {"--input": self.disk / source, "--model": self.models[model], "--output": f"{self.bucket}/{output}"}
        words = [word for name, value in named.items() for word in (name, str(value))]
        endpoint = [{"s3": "--s3-endpoint", "gs": "--gcs-endpoint"}[self.scheme], url or self.url]
        return ["reconstruct", *words, "--max-reject-fraction", "0.2", "--overwrite", *endpoint, *more]

    def run(self, output: str, model: int, source: str) -> None:
        child = self.nursery.run(["clean", *self.command(output, model, source)], self.disk / "log", call=CALL)
        assert child.status == 0, child.said

    def files(self, output: str, place: Path) -> Files:
        shutil.rmtree(place / output, ignore_errors=True)
        return files(self.get(output, place / output))

    def judge(self, output: str, ends: Ends, wanted: Files, place: Path) -> None:
        check(ends, self.files(output, place), wanted)
        option = {"s3": "s3_endpoint", "gs": "gcs_endpoint"}[self.scheme]
        configure(StoreOptions(**{option: self.url}))
        report = verify(f"{self.bucket}/{output}", deep=True)
        configure(DEFAULTS)
        assert (report.problems, report.extra) == ((), ()), report.describe()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, model: Model) -> tuple[Path, Sequence[str]]:
    """Six shards, and eleven; two models."""
    place = tmp_path_factory.mktemp("others")
    make_shards(place / "in")
    shutil.copytree(place / "in", place / "more", copy_function=shutil.copy2)
    make_shards(place / "new", 5)
    (place / "new").rename(place / "more/new")
    return place, (model.bundle, make_model(place / "model", 8).bundle)


@pytest.fixture(scope="module", params=["s3", "gs"])
def place(request: pytest.FixtureRequest, nursery: Nursery, others: Any, s3: S3Server) -> Place:
    disk, models = others
    common: Mapping[str, Any] = {"nursery": nursery, "disk": disk, "models": models, "clean": {}}
    if request.param == "s3":
        bucket = s3.bucket()

        def get(output: str, target: Path) -> Path:
            for name, data in bucket.files(f"{output}/").items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(data)
            return target

        made = Place(scheme="s3", bucket=bucket.uri, proxy=s3.proxy, url=s3.url, get=get, put=bucket.put, **common)
    else:
        gcs: GcsServer = request.getfixturevalue("gcs")
        gs = gcs.bucket()
        where = {"bucket": gs.uri, "proxy": gcs.proxy, "url": gcs.url}
        made = Place(scheme="gs", get=gs.download, put=gs.put, **where, **common)
    for model, source in ((0, "in"), (1, "in"), (0, "more")):
        made.run(f"clean-{model}-{source}", model, source)
        made.clean[model, source] = made.files(f"clean-{model}-{source}", disk / made.scheme)
    return made


def clean_up_late(place: Place, output: str, folder: Path, skip: int, *, mirrored: bool) -> Ends:
    """The late run has committed, after one that died, and loses its store in its clean-up."""
    late, next = ("more", "in") if mirrored else ("in", "more")
    place.run(output, 0, "in")
    place.put(f"{output}/_hold", dead_lease())
    place.put(f"{output}/latents/lost.parquet", b"of the run that died")
    fault = Fault(what="hold", method="DELETE|GET", name=f"^{output}/(latents|_plan|_receipts)", skip=skip)
    fault.after = Fault(what="", method="PUT|POST", name=f"^{output}/_SUCCESS")
    ends = behind_a_proxy(
        place.nursery,
        place.proxy,
        fault,
        place.command(output, 0, late, url=place.proxy.url),
        place.command(output, 0, next, *(["--prune"] if mirrored else [])),
        folder,
    )
    place.judge(output, ends, place.clean[0, next], folder)
    return ends


def publish_late(place: Place, output: str, folder: Path, skip: int, *, mirrored: bool) -> Ends:
    """The late run replaces what one model made by what another one makes, and loses its store on the way."""
    late, next = (0, 1) if mirrored else (1, 0)
    place.run(output, next, "in")
    changes = CHANGES[place.scheme]
    fault = Fault(what="hold", method=changes, name=BELOW.format(out=output), skip=skip)
    ends = behind_a_proxy(
        place.nursery,
        place.proxy,
        fault,
        place.command(output, late, "in", url=place.proxy.url),
        place.command(output, next, "in"),
        folder,
    )
    place.judge(output, ends, place.clean[next, "in"], folder)
    return ends


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_late_clean_up(place: Place, tmp_path: Path, mirrored: bool) -> None:
    assert clean_up_late(place, f"up{mirrored}", tmp_path, 0, mirrored=mirrored).overtook


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_late_publish(place: Place, tmp_path: Path, mirrored: bool) -> None:
    assert publish_late(place, f"pub{mirrored}", tmp_path, 9, mirrored=mirrored).overtook


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("mirrored", [False, True])
def test_at_any_instant(place: Place, tmp_path: Path, mirrored: bool) -> None:
    dice = random.Random(7 + mirrored)
    for number in range(20):
        clean_up_late(place, f"up{mirrored}-{number}", tmp_path, dice.randrange(8), mirrored=mirrored)
        publish_late(place, f"pub{mirrored}-{number}", tmp_path, dice.randrange(90), mirrored=mirrored)
