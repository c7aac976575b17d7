"""The check that a job does not read what it writes."""

from collections.abc import Iterator, Sequence

from lake.core.errors import UsageError
from lake.inputs.globs import Glob, expand, is_glob, literal_parts
from lake.storage.location import path_below


def check_apart(inputs: Sequence[str], output: str, what: str = "input") -> None:
    """Refuse an output that lies inside an input, or around one.

    The places are compared, not the texts: links, ``..``, ``.`` and ``//`` are resolved. An output beside the files
    that a glob means is not refused, as ``out`` beside ``*.tar``.

    Args:
      inputs: URIs, as ``find_shards`` takes them.
      output: URI of the output directory.
      what: the inputs' name in the message.

    Raises:
      UsageError: the job would read what it writes.

    >>> check_apart(["gs://b/in"], "gs://b/./in//out")
    Traceback (most recent call last):
    ...
    lake.core.errors.UsageError: the output gs://b/./in//out lies inside the input gs://b/in; name one beside it
    >>> check_apart(["gs://b/in/*.tar"], "gs://b/in/out")
    """
    for uri in inputs:
        for glob in _globs(uri):
            path = path_below(output, glob.base)
            if path is not None and (glob.whole or glob.may_hold(path)):
                raise UsageError(f"the output {output} lies inside the {what} {uri}; name one beside it")
            if path != "" and path_below(glob.base, output) is not None:
                raise UsageError(f"the {what} {uri} lies inside the output {output}; name an output beside it")


def _globs(uri: str) -> Iterator[Glob]:
    """What an input can mean: the name of a file or directory, or the files of globs. The store is not asked which."""
    yield Glob.everything(uri)
    for one in expand(uri):
        if one != uri or is_glob(one):
            yield Glob(one) if is_glob(one) else Glob.everything(one)
        yield from (Glob(one, literal) for literal in literal_parts(one))
