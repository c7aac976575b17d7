"""Save a Keras model reproducibly: equal models give equal bytes."""

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from lake.core.temporary import temporary_space
from model.spec import Json

_WEIGHTS = "model.weights.h5"


def serialize_model(model: Any) -> bytes:
    """Return the bytes of a ``.keras`` file (Keras v3 format) without time stamps and memory addresses.

    Args:
      model: the Keras model.
    """
    with temporary_space(), tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.keras")
        model.save(path)
        _normalize(path)
        return path.read_bytes()


def _normalize(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    addresses: dict[int, int] = {}  # Keras identifies shared objects by their memory address

    def renumber(value: dict[str, Json]) -> dict[str, Json]:
        if "shared_object_id" in value:
            value["shared_object_id"] = addresses.setdefault(value["shared_object_id"], len(addresses))
        return value

    config = json.loads(members["config.json"], object_hook=renumber)
    members |= {"metadata.json": json.dumps(metadata).encode(), "config.json": json.dumps(config).encode()}
    members[_WEIGHTS] = _compact(members[_WEIGHTS])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            # Weights do not compress well, and Keras reads them in random order, which a compressed member makes slow.
            kind = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), content, kind)


def _compact(weights: bytes) -> bytes:
    """Copy an HDF5 file to the latest version of the format, without time stamps.

    Its groups take a tenth of the space in that version.
    """
    import h5py
    from h5py import h5f, h5p

    access = h5p.create(h5p.FILE_ACCESS)
    # The format's version decides how compactly groups are stored.
    access.set_libver_bounds(h5f.LIBVER_LATEST, h5f.LIBVER_LATEST)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, _WEIGHTS)
        made = h5f.create(bytes(path), h5f.ACC_TRUNC, fcpl=_untimed(h5p.FILE_CREATE), fapl=access)
        with h5py.File(io.BytesIO(weights)) as old, h5py.File(made) as new:
            _copy(old, new)
        return path.read_bytes()


def _copy(old: Any, new: Any) -> None:
    from h5py import Group, h5g, h5p

    new.attrs.update(old.attrs)
    for name, item in old.items():
        if hasattr(item, "items"):
            _copy(item, Group(h5g.create(new.id, name.encode(), gcpl=_untimed(h5p.GROUP_CREATE))))
        else:
            new.create_dataset(name, data=item[()]).attrs.update(item.attrs)


def _untimed(kind: Any) -> Any:
    from h5py import h5p

    properties = h5p.create(kind)
    properties.set_obj_track_times(False)
    return properties
