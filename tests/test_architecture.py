"""The house: which way imports go, that none go in a circle, and that a name has one meaning. Only sources are read."""

import ast
import gc
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("latentlake", "pipeline", "model", "lake")  # each may import those behind it
USERS = {  # what may import what, besides the packages and itself
    "tests": {"harness", "benchmarks"},  # their arithmetic is tested
    "benchmarks": {"harness"},
    "examples": set[str](),
    "harness": set[str](),
}
TOPS = (*FLOORS, *USERS)
# modules of one interface, each of which may define its names; and entry points
PARALLEL = (
    *("lake/images/codecs/*.py", "lake/formats/*/reader.py", "lake/formats/*/writer.py", "lake/storage/*/*.py"),
    "model/cli/*.py",  # run(options) of each command
)
ENTRY_POINTS = {"main", "parse"}
IN_PIPELINE = {"__init__", "__main__", "main", "config", "transforms"}
EXPORTED = {
    "latentlake": [
        *("BundleError", "DenoiseShards", "EncodeImages", "EncodeShards", "HeldError", "InputError"),
        *("LatentlakeError", "Output", "OutputError", "ShardError", "Status", "UnfinishedError", "UnreadableError"),
        *("UsageError", "VerifyError", "__version__", "decode", "denoise", "encode", "export", "generate", "open"),
        *("reconstruct", "status", "train"),
    ],
    "pipeline": ["DenoiseShards", "EncodeImages", "EncodeShards", "__version__"],
    "model": ["build_autoencoder", "build_denoiser", "build_vae"],
    "lake.formats": ["FORMATS", "MIXED", "Format"],
    "lake.storage": [
        *("Guard", "Sink", "Stat", "Store", "StoreOptions"),
        *("configure", "configured", "join", "measured", "put", "store_for"),
    ],
}


@dataclass(frozen=True, slots=True)
class Import:
    """One module that another names; ``checked_only`` is seen by the type checker alone, ``text`` is a string."""

    source: str
    target: str
    checked_only: bool = False
    text: bool = False


# ---- what there is


def sources(root: Path) -> Mapping[str, Path]:
    """Every module of the tree, by its name."""
    found = {}
    for top in TOPS:
        for path in sorted((root / top).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module. What a collection ends may parse as well, and CPython 3.11 fails then."""
    gc.disable()
    try:
        return ast.parse(path.read_text(), str(path))
    finally:
        gc.enable()


def imports(root: Path) -> list[Import]:
    """All imports of one module of the tree by another, wherever they stand; paths of modules in strings too."""
    known = sources(root)
    return [found for name, path in known.items() for found in _imports_of(name, path, known)]


def _imports_of(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    tree = parsed(path)
    checked_only = _type_checking(tree)
    for node in ast.walk(tree):
        for target in _targets(node, known):
            if target in known and target != name:
                text = isinstance(node, ast.Constant)
                yield Import(name, target, node in checked_only, text)


def _targets(node: ast.AST, known: Mapping[str, Path]) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (_known(alias.name, known) for alias in node.names)
        case ast.ImportFrom():
            assert node.level == 0 and node.module, "imports are absolute"
            for alias in node.names:  # of a module, or of a name in one
                yield _known(f"{node.module}.{alias.name}", known)
        case ast.Constant(value=str(text)) if text.partition(":")[0] in known and "." in text:
            yield text.partition(":")[0]  # what a registry or a launcher imports later


def _known(name: str, known: Mapping[str, Path]) -> str:
    """The module of the tree that a dotted name leads to, or the name's first part where there is none."""
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return name


def _type_checking(tree: ast.AST) -> set[ast.AST]:
    guarded = (
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )
    return {inner for node in guarded for statement in node.body for inner in ast.walk(statement)}


@cache
def of_this_tree() -> list[Import]:
    return imports(ROOT)


def top(module: str) -> str:
    return module.partition(".")[0]


# ---- what must hold


def arrows_up(found: list[Import]) -> list[Import]:
    """Imports of a package by one that stands below it."""
    return [
        one
        for one in found
        if {top(one.source), top(one.target)} <= set(FLOORS)
        and FLOORS.index(top(one.target)) < FLOORS.index(top(one.source))
    ]


def strangers(found: list[Import]) -> list[Import]:
    """Imports of tests, benchmarks, examples or the harness by what may not."""
    return [
        one
        for one in found
        if top(one.target) in USERS
        and top(one.target) != top(one.source)
        and top(one.target) not in USERS.get(top(one.source), ())
    ]


def circles(found: list[Import]) -> list[list[str]]:
    """Modules that import one another, whenever they do; imports for the type checker and strings do not count."""
    graph = defaultdict[str, set[str]](set)
    for one in found:
        if not one.checked_only and not one.text:
            graph[one.source].add(one.target)
    reach = {name: _reachable(graph, name) for name in list(graph)}
    rings = {tuple(sorted(other for other in reach[name] if name in reach.get(other, ()))) for name in graph}
    return [list(ring) for ring in sorted(rings) if ring]


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen, left = set[str](), [*graph.get(start, ())]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += graph.get(name, ())
    return seen


def defined_twice(root: Path) -> dict[str, list[str]]:
    """Public functions, classes and constants of the packages that have one name in several modules."""
    parallel = {path for pattern in PARALLEL for path in root.glob(pattern)}
    places = defaultdict[str, list[str]](list)
    for module, path in sources(root).items():
        if top(module) in FLOORS and path not in parallel:
            for name in _defined(parsed(path)):
                places[name].append(module)
    return {name: sorted(modules) for name, modules in places.items() if len(modules) > 1 and name not in ENTRY_POINTS}


def _defined(tree: ast.Module) -> set[str]:
    names = set[str]()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def test_no_arrow_goes_up() -> None:
    assert arrows_up(of_this_tree()) == []


def test_no_circle() -> None:
    assert circles(of_this_tree()) == []


def test_nobody_else_imports_tests_benchmarks_or_examples() -> None:
    assert strangers(of_this_tree()) == []


def test_few_modules_directly_in_pipeline() -> None:
    assert {path.stem for path in (ROOT / "pipeline").glob("*.py")} <= IN_PIPELINE


def test_a_public_name_has_one_meaning() -> None:
    assert defined_twice(ROOT) == {}


@pytest.mark.parametrize("module", EXPORTED)
def test_exported_names(module: str) -> None:
    """Each is there too; in a process of its own, for the packages import on first use."""
    tree = parsed(sources(ROOT)[module])
    (exported,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert exported == EXPORTED[module]


@pytest.mark.slow
@pytest.mark.parametrize("module", EXPORTED)
def test_exported_names_are_there(module: str) -> None:
    code = f"import {module} as it; print([name for name in it.__all__ if not hasattr(it, name)])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "[]\n"


# ---- that each of these says so


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small tree in order."""
    files = {
        "lake/__init__.py": "",
        "lake/core.py": "def read(): ...\n",
        "model/bundle.py": "from lake.core import read\n",
        "pipeline/__init__.py": "import model.bundle\n",
        "latentlake/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline import x\n",
        "tests/test_x.py": "from harness.servers import s3\nimport pipeline\n",
        "harness/servers.py": "import lake.core\n",
        "benchmarks/bench.py": "import harness.servers\n",
        "examples/digits.py": "import latentlake\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_tree_in_order(house: Path) -> None:
    found = imports(house)
    assert len(found) == 8
    assert (arrows_up(found), circles(found), strangers(found), defined_twice(house)) == ([], [], [], {})


@pytest.mark.parametrize(
    "text",
    [
        "import model.bundle\n",
        "from pipeline import x\n",
        "def f():\n    import model.bundle\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from model import bundle\n",
        "LATER = {'x': ('model.bundle', 'Bundle')}\n",
        "LATER = 'model.bundle:Bundle'\n",
    ],
)
def test_an_arrow_up_is_seen(house: Path, text: str) -> None:
    (house / "lake/core.py").write_text(text)
    (arrow,) = arrows_up(imports(house))
    assert (arrow.source, top(arrow.target)) in {("lake.core", "model"), ("lake.core", "pipeline")}


@pytest.mark.parametrize("text", ["import lake.images\n", "def f():\n    from lake.images import pixels\n"])
def test_a_circle_is_seen(house: Path, text: str) -> None:
    (house / "lake/core.py").write_text(text)
    (house / "lake/images.py").write_text("from lake import core\n")
    assert circles(imports(house)) == [["lake.core", "lake.images"]]
    (house / "lake/images.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lake import core\n"
    )
    assert circles(imports(house)) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("lake/core.py", "import tests.test_x\n"),
        ("pipeline/__init__.py", "import harness.servers\n"),
        ("benchmarks/bench.py", "from tests.test_x import y\n"),
        ("tests/test_x.py", "import examples.digits\n"),
        ("harness/servers.py", "import benchmarks.bench\n"),
        ("examples/digits.py", "import harness.servers\n"),
        ("harness/servers.py", "import tests.test_x\n"),
    ],
)
def test_an_import_by_a_stranger_is_seen(house: Path, file: str, text: str) -> None:
    (house / file).write_text(text)
    assert len(strangers(imports(house))) == 1


@pytest.mark.parametrize("text", ["def read(): ...\n", "class read: ...\n", "read = 1\n", "read: int = 1\n"])
def test_a_name_that_is_defined_twice_is_seen(house: Path, text: str) -> None:
    (house / "model/bundle.py").write_text(text)
    assert defined_twice(house) == {"read": ["lake.core", "model.bundle"]}
