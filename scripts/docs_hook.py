"""A hook of MkDocs: brings pages from outside ``docs/`` into the site, and checks the paths that pages name.

Pages are written to be read in the repository as well, so their links go from file to file. Here each link is turned
into one from page to page. A link to a file that is no page of the site (a source, a DAG) is left as its text alone.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
_LOG = logging.getLogger("mkdocs.hooks.paths")  # a warning below mkdocs fails a strict build

# pattern of files in the repository -> folder of the site that they appear in
_OUTSIDE = {
    "CHANGELOG.md": ".",
    "CONTRIBUTING.md": ".",
    "SECURITY.md": ".",
    "benchmarks/README.md": "benchmarks",
    "benchmarks/results/*.md": "benchmarks/results",
    "benchmarks/results/*.png": "benchmarks/results",
}
_CARDS = "model/zoo/*/README.md"  # each appears as zoo/NAME.md

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_HREF = re.compile(r'href="(?P<target>[\w/]+\.md)"')
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:tests|scripts|benchmarks|harness|docs|deploy|examples|lake|model|pipeline)/[\w./-]+")
_PLACEHOLDER = "NAME"  # in a path: stands for what the reader adds


def on_pre_build(**_: Any) -> None:
    """Check the links of the README, which is no page of the site."""
    for link in _LINK.finditer((ROOT / "README.md").read_text()):
        path = link["target"].partition("#")[0]
        if "://" not in path and not (ROOT / path).exists():
            _LOG.warning("README.md links to '%s', which does not exist.", path)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside ``docs/``."""
    for path, name in _outside().items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Turn links between files into links between pages, outside of code."""
    name = page.file.src_uri
    source = {name: path for path, name in _outside().items()}.get(name, f"docs/{name}")
    parts, end = list[str](), 0
    for fence in _FENCE.finditer(markdown):
        parts += [_linked(markdown[end : fence.start()], source, name, files), fence[0]]
        end = fence.end()
    parts.append(_linked(markdown[end:], source, name, files))
    return "".join(parts)


def on_page_content(html: str, page: Any, files: Files, **_: Any) -> str:
    """Turn the links of a notebook, which MkDocs does not know, into links between pages."""

    def replaced(link: re.Match[str]) -> str:
        target = files.get_file_from_path(link["target"])
        if target is None:
            _LOG.warning("Doc file '%s' links to '%s', which does not exist.", page.file.src_uri, link["target"])
            return link[0]
        return f'href="{posixpath.relpath(target.url, page.file.url)}/"'

    return _HREF.sub(replaced, html) if page.file.src_uri.endswith(".ipynb") else html


def _linked(text: str, source: str, name: str, files: Files) -> str:
    """One stretch of a page that is not code."""
    for span in _CODE.findall(text):
        if _PATH.fullmatch(span) and _PLACEHOLDER not in span and "/." not in span and not (ROOT / span).exists():
            _LOG.warning("Doc file '%s' names the path '%s', which does not exist.", name, span)

    def replaced(link: re.Match[str]) -> str:
        target, hash_, anchor = link["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        found = _outside().get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if found is not None and files.get_file_from_path(found):
            relative = posixpath.relpath(found, posixpath.dirname(name) or ".")
            return f"{link['image']}[{link['text']}]({relative}{hash_}{anchor})"
        if (ROOT / path).exists() and not link["image"]:
            return link["text"]
        return link[0]  # MkDocs says that there is no such page

    return _LINK.sub(replaced, text)


def _outside() -> dict[str, str]:
    """Path in the repository -> name in the site, of all that comes from outside ``docs/``."""
    found = {
        path.relative_to(ROOT).as_posix(): posixpath.normpath(f"{folder}/{path.name}")
        for pattern, folder in _OUTSIDE.items()
        for path in ROOT.glob(pattern)
    }
    return found | {path.relative_to(ROOT).as_posix(): f"zoo/{path.parent.name}.md" for path in ROOT.glob(_CARDS)}
