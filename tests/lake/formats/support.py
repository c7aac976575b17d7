"""Shards that the readers' tests write, and what is read as plain rows."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lake.core.records import Records, Shard
from lake.formats.array.idx import labels_of
from lake.storage import store_for

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def shard_of(path: Path, data: bytes | None = None) -> Shard:
    if data is not None:
        path.touch()
        with path.open("r+b") as file:  # emptying a file first can cost milliseconds, and some tests write thousands
            file.write(data)
            file.truncate()
    return Shard(uri=str(path), path=path.name, size=path.stat().st_size, identity=identity_of(path))


def identity_of(path: Path) -> str:
    """What the listing says of a file, and of MNIST's labels beside it."""
    found = (store_for("").stat(str(path.with_name(name))) for name in (path.name, *labels_of(path.name)))
    return "+".join(stat.identity for stat in found if stat is not None)


def write(path: Path, records: Sequence[bytes], compression: str = "") -> Shard:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return shard_of(path)


def archive(members: Sequence[tuple[str | tarfile.TarInfo, bytes]], format: str = "ustar", **options: Any) -> bytes:
    """A tar archive by Python's tarfile."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMATS[format], **options) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def rows(parts: Sequence[Records]) -> list[dict[str, Any]]:
    """Each record with what reading says of it, whatever the batches were."""
    found = []
    for part in parts:
        carried = {name: column.to_pylist() for name, column in part.carried.items()}
        payload = part.payload.tolist() if isinstance(part.payload, np.ndarray) else part.payload.to_pylist()
        for i in range(len(part)):
            row = {name: values[i] for name, values in carried.items()}
            found.append(row | {"index": int(part.index[i]), "key": part.key[i].as_py(), "payload": payload[i]})
            found[-1]["fault"] = part.faults.get(i)
    return found
