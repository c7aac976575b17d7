"""An output as a notebook shows it: a headline and a strip of images. Keys and names are data, and are escaped."""

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from lake.core.printable import printable
from pipeline.explore.pictures import thumbnail

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 64  # pixels
_KEY = 24  # characters that are shown; all are in the title


def strip_of(headline: str, images: "Sequence[tuple[str, Image]]") -> str:
    r"""HTML of a headline with images below it.

    Args:
      headline: one sentence.
      images: key and image of some records.

    >>> strip_of("3 results <b>", [])
    '<div><p>3 results &lt;b&gt;</p></div>'
    """
    figures = "".join(_figure(key, image) for key, image in images)
    strip = f'<div style="display:flex;flex-wrap:wrap;gap:8px">{figures}</div>' if figures else ""
    return f"<div><p>{escape(printable(headline))}</p>{strip}</div>"


def _figure(key: str, image: "Image") -> str:
    data = base64.b64encode(thumbnail(image, _SIDE)).decode()
    name, short = escape(printable(key)), escape(printable(key, _KEY))
    return (
        f'<figure style="margin:0"><img src="data:image/png;base64,{data}" alt="{name}" title="{name}" '
        f'style="height:{_SIDE}px;image-rendering:pixelated"><figcaption><small>{short}</small></figcaption></figure>'
    )
