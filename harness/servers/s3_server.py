"""MinIO, for the tests of ``s3://``: a server of its own for each session, and a second client to compare with."""

import io
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import google_crc32c
from botocore.config import Config

from harness.processes import await_url, free_ports
from harness.servers.proxy import Proxy, proxied
from harness.servers.s3_rules import S3Rules
from lake.storage.remote import Upload

_PLACE = Path(__file__).parents[2] / ".servers"  # before those of the machine
USER, PASSWORD = "tester", "a-secret-of-tests"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": USER,
    "AWS_SECRET_ACCESS_KEY": PASSWORD,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A server that answers at ``url``; ``proxy`` stands in front of it and answers at its own."""

    url: str
    proxy: Proxy

    def client(self) -> Any:
        """A client without anything of this project."""
        return boto3.session.Session(aws_access_key_id=USER, aws_secret_access_key=PASSWORD).client(
            "s3", endpoint_url=self.url, region_name="us-east-1", config=Config(s3={"addressing_style": "path"})
        )

    def bucket(self) -> "Bucket":
        """A new one."""
        bucket = Bucket(name=f"bucket-{uuid.uuid4().hex[:12]}", client=self.client())
        bucket.client.create_bucket(Bucket=bucket.name)
        return bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket, as ``client`` sees it."""

    name: str
    client: Any

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def head(self, key: str) -> dict[str, Any]:
        head: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        return head

    def allow(self, *actions: str, remove_below: str = "") -> None:
        """Let everybody do this, and remove what has this prefix."""
        arn, everybody = f"arn:aws:s3:::{self.name}", {"Effect": "Allow", "Principal": "*"}
        statements = [{**everybody, "Action": list(actions), "Resource": [arn, f"{arn}/*"]}]
        if remove_below:
            statements += [{**everybody, "Action": ["s3:DeleteObject"], "Resource": [f"{arn}/{remove_below}*"]}]
        policy = {"Version": "2012-10-17", "Statement": statements}
        self.client.put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))

    def upload(self, source: Path, prefix: str) -> None:
        """All files of a directory, under their paths below it."""
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            self.put(f"{prefix}/{path.relative_to(source)}", path.read_bytes())

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """All objects below a prefix, by what follows it."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key.removeprefix(prefix).lstrip("/"): self.get(key) for key in keys}

    def changes(self, prefix: str) -> dict[str, datetime]:
        """When each object below a prefix was written, by what follows it: up to 1,000."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", ())
        return {entry["Key"].removeprefix(prefix): entry["LastModified"] for entry in found}

    def uploads(self) -> list[str]:
        """Keys of uploads in parts that have not ended."""
        return [left["Key"] for left in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]


def uploading(data: bytes, crc32c: str = "") -> Upload:
    """These bytes on their way out, as a write of their own."""
    known = crc32c or f"{google_crc32c.value(data):08x}"
    return Upload(file=io.BytesIO(data), size=len(data), crc32c=known, attempt=uuid.uuid4().hex)


@contextmanager
def serving() -> Iterator[S3Server]:
    """A server in this block."""
    binary = shutil.which("minio", path=os.pathsep.join([str(_PLACE), os.environ.get("PATH", "")]))
    assert binary, "minio is not there: run scripts/servers"
    (port, console), data = free_ports(2), tempfile.mkdtemp(prefix="minio-")
    process = subprocess.Popen(
        [binary, "server", data, "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"],
        env={"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "HOME": data},
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await_url(f"{url}/minio/health/ready", process)
        with proxied(port, S3Rules()) as proxy:
            yield S3Server(url=url, proxy=proxy)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(data)
