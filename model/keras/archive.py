"""The zip archive that a ``.keras`` file is: which members it may have, and a copy of it that Keras may open."""

import json
import zipfile
from pathlib import Path

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.spec import Json
from model.zip_members import METHODS, member_chunks, read_member

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
# Members of a .keras archive (Keras 3, "Keras v3 format"), with the largest size of each in bytes.
_MEMBERS = {METADATA: 1 << 20, CONFIG: 16 << 20, WEIGHTS: 8 << 30}


_TRAINING = {"compile_config"}
_REBUILD = "rebuild the model from Keras' own layers and save it again"


def refused(where: str, what: str, remedy: str = _REBUILD) -> BundleError:
    """Return the error for a file that is not loaded.

    Args:
      where: name of the file.
      what: what in it is not allowed.
      remedy: what to do about it.
    """
    return BundleError(f"{where}: refused, not loaded: {printable(what)}; {remedy}")


def check_members(archive: zipfile.ZipFile, where: str) -> None:
    """Check names, sizes and compression of the members, before any is read.

    Raises:
      BundleError: a member is missing, does not belong there, or may expand to more than it should.
    """
    names = [info.filename for info in archive.infolist()]
    if strange := sorted(set(names) - set(_MEMBERS)):
        raise refused(where, f"it has the member {strange[0]!r}, where only {', '.join(_MEMBERS)} belong")
    if missing := sorted(set(_MEMBERS) - set(names)):
        raise BundleError(f"{where}: not a whole .keras file ({missing[0]} is missing); save the model again")
    # Of two members with one name this audit might read one, and Keras the other.
    if len(names) != len(set(names)):
        raise refused(where, "it has a member twice")
    for info in archive.infolist():
        _check_member(info, where)


def _check_member(info: zipfile.ZipInfo, where: str) -> None:
    # An encrypted member cannot be audited.
    if info.flag_bits & 0x1:
        raise refused(where, f"{info.filename} is encrypted")
    if info.compress_type not in METHODS:
        raise refused(where, f"{info.filename} is compressed with another method than deflate")
    # Keras does not compress its archives, but a user may have zipped one again; 100:1 is beyond any such file.
    if info.file_size > min(_MEMBERS[info.filename], 1024 + 100 * info.compress_size):
        raise refused(where, f"{info.filename} claims {info.file_size} bytes in {info.compress_size}")


def read_json(archive: zipfile.ZipFile, name: str, where: str) -> Json:
    """A member that is JSON, without what only training needs.

    Raises:
      BundleError: it is not JSON.
    """
    return parse_json(read_member(archive, name, _MEMBERS[name]), name, where)


def parse_json(text: str | bytes, name: str, where: str) -> Json:
    """A text that is JSON, without what only training needs: optimizer, loss and metrics, at every level.

    Keras would build those of a model within the model, even where it is told to leave out those of the outermost.

    Args:
      text: of up to 16 MB.
      name: what it is, for messages.
      where: name of the file.

    Raises:
      BundleError: it is not JSON, or too long.
    """
    if len(text) > _MEMBERS[CONFIG]:
        raise refused(where, f"{name} has {len(text)} bytes, where {_MEMBERS[CONFIG]} are allowed")
    try:
        return json.loads(text, object_hook=_untrained)
    except (ValueError, RecursionError) as error:
        why = printable(str(error))
        raise BundleError(f"{where}: {name} is not valid JSON ({why}); save the model again") from error


def _untrained(value: dict[str, Json]) -> dict[str, Json]:
    return {name: item for name, item in value.items() if name not in _TRAINING}


def write_copy(archive: zipfile.ZipFile, config: Json, path: Path) -> None:
    """Write the archive with this configuration, and every member stored, so that reading one takes what it says.

    Raises:
      BadZipFile: a member is damaged, or is not as long as it claims.
    """
    with zipfile.ZipFile(path, "w") as copy:
        copy.writestr("metadata.json", read_member(archive, "metadata.json", _MEMBERS["metadata.json"]))
        copy.writestr(CONFIG, json.dumps(config))
        with copy.open(WEIGHTS, "w", force_zip64=True) as sink:
            for chunk in member_chunks(archive, archive.getinfo(WEIGHTS)):
                sink.write(chunk)
