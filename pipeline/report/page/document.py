"""A page as one file: its style, scripts and data are in it, and its policy lets it load nothing."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lake.core.errors import UsageError
from lake.core.printable import printable
from pipeline.report.page.words import WORDS

if TYPE_CHECKING:
    from jinja2 import Environment

_MOST = 2_000  # characters of a text that are shown
# No address is allowed, so nothing is loaded or sent. Of scripts only the page's own one runs, told by its digest, and
# what it starts itself.
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'sha256-{digest}' 'strict-dynamic'{more}; base-uri 'none'; form-action 'none'"
)


def document(template: str, scripts: Sequence[str], *, webgl: bool = False, **values: Any) -> str:
    """Fill a template.

    Args:
      template: name of the file.
      scripts: names of the files of JavaScript that it runs, as one script.
      webgl: whether plotly draws with WebGL, for which it compiles functions from text of its own.
      **values: what the template shows. Texts are escaped; ``data``, a function without arguments, gives the JSON that
        the script reads, once all else is filled in.

    Raises:
      UsageError: jinja2 is not installed.
    """
    script = "".join(_text(f"static/{name}") for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            policy=_POLICY.format(digest=digest, more=" 'unsafe-eval'" if webgl else ""),
            style=_trusted(_text("static/page.css")),
            script=_trusted(script),
            **values,
        )
    )


def as_json(value: Mapping[str, Any]) -> str:
    r"""JSON for an element ``script``, which ends at the first ``</script`` in it, wherever that stands.

    >>> as_json({"key": "</script>"})
    Markup('{"key":"\\u003c/script>"}')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half a character has no UTF-8; a page with one could not be written.
    return _trusted(text.encode("utf-8", "replace").decode().replace("<", "\\u003c"))


def check_installed(*, figures: bool = True) -> None:
    """Check that pages can be made, before a long computation of what they show.

    Args:
      figures: whether they have figures.

    Raises:
      UsageError: jinja2 or plotly is not installed.
    """
    _environment()
    if not figures:
        return
    try:
        files("plotly")
    except ModuleNotFoundError as error:
        raise _missing("plotly") from error


@cache
def packed_plotly() -> str:
    """The JavaScript of plotly, compressed by gzip, in Base64.

    Raises:
      UsageError: plotly is not installed.
    """
    try:
        script = files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    except ModuleNotFoundError as error:
        raise _missing("plotly") from error
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()


@cache
def _environment() -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise _missing("jinja2") from error
    environment = Environment(
        loader=PackageLoader("pipeline.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(WORDS)
    return environment


def _finalize(value: Any) -> Any:
    """Texts of data are shown as one line without control characters."""
    return printable(value, _MOST) if type(value) is str else value


def _trusted(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)


def _text(name: str) -> str:
    return files("pipeline.report.page").joinpath(name).read_text(encoding="utf-8")


def _missing(package: str) -> UsageError:
    return UsageError(f"a page needs {package}, which is not installed: pip install 'latentlake[report]'")
