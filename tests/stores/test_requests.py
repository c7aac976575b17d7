"""How many requests a night makes of a store: what ``docs/scale.md`` says, for each shard and for each run."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from harness.servers import gcs_rules, s3_rules
from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.proxy import Proxy, Request
from harness.servers.s3_server import Bucket, S3Server
from lake.storage import StoreOptions
from tests.conftest import png, write_parquet
from tests.pipeline.conftest import run_job

# The table of docs/scale.md. What goes by time is not in it: the lease, and how far a unit is.
SHARD = {"read": 1, "stat": 1, "insert": 2, "delete": 1}
FIRST = {"list": 12, "stat": 14, "read": 23, "insert": 12, "rewrite": 3, "delete": 5}
LATER = {"list": 10, "stat": 13, "read": 18, "insert": 7, "rewrite": 4, "delete": 7}
IDLE = {"list": 4, "stat": 8, "read": 3}
S3_SHARD = {"read": 1, "stat": 2, "insert": 2}
S3_LATER = {"list": 11, "stat": 31, "read": 18, "insert": 7, "rewrite": 4, "delete": 5, "delete many": 2}


class Lake:
    """Shards of one image in a bucket, and an output of them."""

    def __init__(
        self,
        bucket: GcsBucket | Bucket,
        proxy: Proxy,
        kind: Callable[[Request], str],
        stores: StoreOptions,
        folder: Path,
    ) -> None:
        self._bucket, self._proxy, self._kind, self._stores = bucket, proxy, kind, stores
        self._scratch, self._count = folder / "shard.parquet", 0

    def night(self, new: int) -> Counter[str]:
        """The requests of a run, after so many new shards have come."""
        for number in range(self._count, self._count + new):
            write_parquet(self._scratch, [png(np.full((28, 28), number, np.uint8))], range(1))
            self._bucket.put(f"in/{number:03d}.parquet", self._scratch.read_bytes())
        self._count += new
        place = self._bucket.uri
        with self._proxy.doing() as seen:
            run_job("encode", f"{place}/in", "zoo:mnist-autoencoder", f"{place}/out", stores=self._stores)
        return Counter(self._kind(one) for one in seen if not re.search("/_hold$|/running", one.name))


def within(requests: Counter[str], budget: Mapping[str, int]) -> bool:
    return all(count <= budget.get(name, 0) for name, count in requests.items())


def more(many: Counter[str], few: Counter[str]) -> dict[str, int]:
    return {name: many[name] - few[name] for name in many.keys() | few.keys() if many[name] != few[name]}


@pytest.mark.slow
def test_requests_of_nights_are_those_of_the_budget(gs: GcsBucket, gcs: GcsServer, tmp_path: Path) -> None:
    stores = StoreOptions(gcs_endpoint=gcs.proxy.url)
    lake = Lake(gs, gcs.proxy, gcs_rules.kind, stores, tmp_path)
    first, one, few, five, many = (lake.night(new) for new in (2, 1, 0, 5, 0))
    assert more(five, one) == {name: 4 * count for name, count in SHARD.items()}, "what four more shards cost"
    assert within(first - Counter(SHARD) - Counter(SHARD), FIRST), first
    assert within(one - Counter(SHARD), LATER), one
    assert few == many == Counter(IDLE), "with nothing to do, whatever is there"


@pytest.mark.slow
def test_no_receipt_is_removed_by_itself_on_s3(bucket: Bucket, s3: S3Server, tmp_path: Path) -> None:
    stores = StoreOptions(s3_endpoint=s3.proxy.url)
    lake = Lake(bucket, s3.proxy, s3_rules.kind, stores, tmp_path)
    _, one, five = (lake.night(new) for new in (1, 1, 5))
    assert more(five, one) == {name: 4 * count for name, count in S3_SHARD.items()}, "what four more shards cost"
    assert within(one - Counter(S3_SHARD), S3_LATER), one
