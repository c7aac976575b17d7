"""Pages whose code is run as a reader runs it: block after block, in one directory."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHIM = '#!/bin/sh\nexec "{python}" -m latentlake "$@"\n'


class Block(NamedTuple):
    """A block of code of a page."""

    language: str
    code: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return [Block(*found.groups()) for found in _BLOCK.finditer(page.read_text())]


def run_page(page: Path, folder: Path, more: Mapping[str, str] | None = None) -> list[str]:
    """Run the blocks of ``sh`` and ``python`` of a page. Blocks of Python see what those before them have defined.

    Args:
      page: the page.
      folder: directory to run it in.
      more: variables of the environment.

    Returns:
      What each block has printed.
    """
    shim = folder / "bin/latentlake"
    shim.parent.mkdir()
    shim.write_text(_SHIM.format(python=sys.executable))
    shim.chmod(0o755)
    path = os.pathsep.join([str(shim.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **(more or {})}
    return list(_outputs(blocks(page), folder, env))


def _outputs(found: list[Block], folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    before = ""
    for block in found:
        if block.language == "python":
            before, skipped = before + block.code, before
            yield _python(skipped, block.code, folder, env)
        elif block.language == "sh":
            yield _run(["bash", "-euo", "pipefail", "-c", block.code], block, folder, env)


def _python(before: str, code: str, folder: Path, env: Mapping[str, str]) -> str:
    """Run a block with the imports and definitions of those before it, whose other statements were run already."""
    import ast

    kept = [
        node
        for node in ast.parse(before).body
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign, ast.AnnAssign))
    ]
    text = ast.unparse(ast.Module(body=kept, type_ignores=[])) + "\n" + code
    return _run([sys.executable, "-c", text], Block("python", code), folder, env)


def _run(line: list[str], block: Block, folder: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(line, cwd=folder, env=dict(env), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
    return done.stdout
