"""A page as a browser's parser sees it, as far as tests ask."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Page:
    """The elements of a page: name, attributes, and for scripts and styles their text."""

    elements: list[tuple[str, Mapping[str, str | None]]] = field(default_factory=list)
    scripts: list[tuple[str, str]] = field(default_factory=list)  # type and text
    text: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """The JSON that the script of the page reads."""
        (found,) = (text for kind, text in self.scripts if kind == "application/json")
        value: dict[str, Any] = json.loads(found)
        return value

    def named(self, name: str) -> list[Mapping[str, str | None]]:
        """The attributes of all elements of a name."""
        return [attributes for found, attributes in self.elements if found == name]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page, self._script = Page(), None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("type") or ""
            self.page.scripts.append((self._script, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            kind, text = self.page.scripts[-1]
            self.page.scripts[-1] = kind, text + data
        else:
            self.page.text += data


def parse(html: str) -> Page:
    """Parse a page."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    parser.page.text = re.sub(r"\s+", " ", parser.page.text)
    return parser.page
