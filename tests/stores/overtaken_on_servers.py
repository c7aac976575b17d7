"""On servers: a run whose requests are kept on their way, and arrive when another one has its output."""

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from pathlib import Path

from botocore.exceptions import ClientError
from google.api_core.exceptions import NotFound

from harness.servers.gcs_server import GcsServer
from harness.servers.proxy import Fault, Proxy, always
from harness.servers.s3_server import S3Server
from lake.storage import StoreOptions, configure
from lake.storage.options import DEFAULTS
from pipeline.output.verify import verify
from pipeline.output.verify.report import VerifyReport
from tests.faults.forkserver import Child, Nursery
from tests.faults.outputs import DATA
from tests.faults.overtaken import CALL, Files, Late, Machine, Place
from tests.faults.overtaken_stories import DEAD, PATIENCE, Job, Moment, Story, dead_lease


class Server(Place):
    """Outputs in a bucket. A run that is held up reaches it through a proxy.

    Args:
      nursery: begins the processes.
      folder: for the shards, and for what the processes say.
      models: two bundles.
      bucket: URI of the bucket.
      url: of the server.
      proxy: before the server.
    """

    option: str  # field of StoreOptions for the server's URL

    def __init__(
        self, nursery: Nursery, folder: Path, models: Sequence[str], bucket: str, url: str, proxy: Proxy
    ) -> None:
        self.bucket, self.url, self.proxy = bucket, url, proxy
        super().__init__(nursery, folder, models)

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write an object of the bucket."""

    @abstractmethod
    def names(self, prefix: str) -> Sequence[str]:
        """Of the objects below a prefix."""

    def uri(self, output: str) -> str:
        return f"{self.bucket}/{output}"

    def command(self, output: str, job: Job, *more: str) -> list[str]:
        return super().command(output, job, *self._endpoint(self.url), *more)

    def _endpoint(self, url: str) -> Sequence[str]:
        return f"--{self.option.replace('_', '-')}", url

    def prepare(self, output: str, story: Story) -> None:
        self.made(output, story.before)
        if story.committed:
            self.put(f"{output}/_hold", dead_lease())
            self.put(f"{output}/latents/lost.parquet", f"of {DEAD}".encode())

    def data(self, output: str) -> Files:
        wanted = (*(f"{name}/" for name in DATA), "_manifest.parquet")
        names = [name.removeprefix(f"{output}/") for name in self.names(f"{output}/")]
        return {name: self.get(output, name) for name in names if name.startswith(wanted)}

    def plans(self, output: str) -> Sequence[str]:
        return self.names(f"{output}/_plan/")

    def verified(self, output: str) -> VerifyReport:
        configure(StoreOptions(**{self.option: self.url}))
        try:
            return verify(self.uri(output), deep=True)
        finally:
            configure(DEFAULTS)

    @contextmanager
    def late(self, output: str, story: Story, moment: Moment, log: Path) -> Iterator[Late]:
        with self.proxy.doing(always(self._hold(output, story, moment.number))):
            child = self._start(output, story, moment.patience, log)
            try:
                while self.proxy.gate.is_set() and not child.ended:
                    time.sleep(0.002)
                yield Late(child=child, go_on=self.proxy.let_through)
            finally:
                self.proxy.let_through()
                child.wait()

    def _hold(self, output: str, story: Story, number: int) -> Fault:
        return Fault(what="hold", name=f"^{output}/", skip=number, after=self.first(output, story))

    def _start(self, output: str, story: Story, patience: float, log: Path) -> Child:
        command = self.command(output, story.late, *self._endpoint(self.proxy.url))
        return self.nursery.start(Machine(name="late", patience=patience).words(command), log, call=CALL)

    def first(self, output: str, story: Story) -> Fault:
        """The request after which a run can be held up: its ``_SUCCESS``, or the one by which it has the output."""
        if story.committed:
            return Fault(what="", method="PUT|POST", name=f"^{output}/_SUCCESS")
        lease = Fault(what="", method="PUT|POST", name=f"^{output}/_hold")
        return Fault(what="", method="PUT|POST", name=f"^{output}/_hold", after=lease)  # made in two steps

    @cache  # noqa: B019 (there is one for each kind of store)
    def requests(self, story: Story) -> int:
        output = f"counted-{story}"
        self.prepare(output, story)
        with self.proxy.doing() as seen:
            child = self._start(output, story, PATIENCE, self.folder / "log")
            assert child.wait() == 0, child.said
        success = Fault(what="", method="PUT|POST", name=f"^{output}/_SUCCESS")
        part = seen if story.committed else takewhile(lambda request: not success.meets(request), seen)
        fault = always(self._hold(output, story, 0))
        return sum(fault.meets(request) for request in part)


class S3(Server):
    """MinIO."""

    option = "s3_endpoint"

    def __init__(self, nursery: Nursery, folder: Path, models: Sequence[str], server: S3Server) -> None:
        self._bucket = server.bucket()
        super().__init__(nursery, folder, models, self._bucket.uri, server.url, server.proxy)

    def first(self, output: str, story: Story) -> Fault:
        if story.committed:
            return super().first(output, story)
        # MinIO ignores conditions of deletes, so this one may remove the next run's (docs/decisions/0013-fencing.md).
        return Fault(what="", method="DELETE", name=f"^{output}/_SUCCESS")

    def put(self, name: str, data: bytes) -> None:
        self._bucket.put(name, data)

    def names(self, prefix: str) -> Sequence[str]:
        pages = self._bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket.name, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def get(self, output: str, name: str) -> bytes:
        try:
            return self._bucket.get(f"{output}/{name}")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"
            return b""


class Gcs(Server):
    """fake-gcs-server."""

    option = "gcs_endpoint"

    def __init__(self, nursery: Nursery, folder: Path, models: Sequence[str], server: GcsServer) -> None:
        self._bucket = server.bucket()
        super().__init__(nursery, folder, models, self._bucket.uri, server.url, server.proxy)

    def put(self, name: str, data: bytes) -> None:
        self._bucket.put(name, data)

    def names(self, prefix: str) -> Sequence[str]:
        return self._bucket.names(prefix)

    def get(self, output: str, name: str) -> bytes:
        try:
            return self._bucket.get(f"{output}/{name}")
        except NotFound:
            return b""
