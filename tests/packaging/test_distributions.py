"""What goes to PyPI: the sdist holds what git has, wheels hold what runs, and the same source gives the same bytes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fluxa_fast import __version__, protocol
from fluxa_fast.protocol.compiled_modules import COMPILED_MODULES

ROOT = Path(__file__).parents[2]
NOT_FOR_USERS = (
    ".ci/",
    ".editorconfig",
    ".git",
    ".pre-commit-config.yaml",
)  # of what git has; .git also begins .github
GENERATED = {"PKG-INFO", "setup.cfg"}
MEGABYTE = 1_000_000
# The folder build/ of this project, which compiling makes, counts as a package too: one that comes from nowhere.
_BUILD = importlib.util.find_spec("build")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("distributions"),  # they are built once
    pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="git is asked what there is"),
    pytest.mark.skipif(getattr(_BUILD, "origin", None) is None, reason="`build` is not installed"),
]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def quick_compiler(folder: Path) -> dict[str, str]:
    """A C compiler that does not optimise: it takes a third of the time, and what is tested here is the same."""
    if sys.platform == "win32":
        return {}
    compiler = folder / "cc"
    script = 'quick=("${{@/#-O3/-O0}}")\nexec {} "${{quick[@]/#-D_FORTIFY_SOURCE=2/-DQUICK}}"\n'  # that needs -O
    compiler.write_text("#!/bin/bash\n" + script.format(os.environ.get("CC", "cc")), "utf-8")
    compiler.chmod(0o755)
    return {"CC": str(compiler)}


def build(source: Path, target: Path, *what: str, **environment: str) -> Path:
    """The one file that ``python -m build`` writes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLUXA_FAST_")}
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(target), str(source)],
        env={**clean, "SOURCE_DATE_EPOCH": "1700000000", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = target.iterdir()
    return built


@dataclass
class Distributions:
    tree: Path  # a folder with what git has
    sdist: Path
    from_tree: Path
    from_sdist: Path
    pure: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributions]:
    folder = tmp_path_factory.mktemp("distributions")

    def copy(name: str) -> Path:
        for file in tracked():
            target = folder / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, target)
        return folder / name

    tree = copy("tree")
    sdist = build(copy("other tree"), folder / "sdist", "--sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [unpacked] = (folder / "unpacked").iterdir()
    compiled = {}
    if not protocol.missing_modules():
        compiled = {"FLUXA_FAST_REQUIRE_EXTENSIONS": "1", **quick_compiler(folder)}
    yield Distributions(
        tree,
        sdist,
        build(tree, folder / "from_tree", "--wheel", **compiled),
        build(unpacked, folder / "from_sdist", "--wheel", **compiled),
        build(tree, folder / "pure", "--wheel", FLUXA_FAST_NO_EXTENSIONS="1"),
    )
    shutil.rmtree(folder)


def names_in(distribution: Path) -> set[str]:
    if distribution.suffix == ".whl":
        with zipfile.ZipFile(distribution) as wheel:
            return set(wheel.namelist())
    with tarfile.open(distribution) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def test_the_sdist_holds_what_git_has(built: Distributions) -> None:
    assert built.sdist.name == f"fluxa_fast-{__version__}.tar.gz"
    expected = {name for name in tracked() if not name.startswith(NOT_FOR_USERS)}
    found = {name for name in names_in(built.sdist) if ".egg-info/" not in name} - GENERATED
    assert found == expected


def test_the_sdist_names_no_user(built: Distributions) -> None:
    with tarfile.open(built.sdist) as archive:
        for member in archive:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mtime == 1700000000


def test_the_same_source_gives_the_same_bytes(built: Distributions, tmp_path: Path) -> None:
    """In other folders, and in the sdist."""
    again = build(built.tree, tmp_path, "--sdist")
    assert again.read_bytes() == built.sdist.read_bytes()
    assert built.from_tree.name == built.from_sdist.name
    assert built.from_tree.read_bytes() == built.from_sdist.read_bytes()


def sources(*suffixes: str) -> set[str]:
    return {name.removeprefix("src/") for name in tracked() if name.startswith("src/") and name.endswith(suffixes)}


def package_in(wheel: Path) -> set[str]:
    info = f"fluxa_fast-{__version__}.dist-info"
    names = names_in(wheel)
    metadata = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
    assert {name for name in names if name.startswith(info)} == {f"{info}/{name}" for name in metadata}
    return {name for name in names if not name.startswith(info)}


def test_the_pure_wheel_holds_what_runs(built: Distributions) -> None:
    assert built.pure.name == f"fluxa_fast-{__version__}-py3-none-any.whl"
    assert package_in(built.pure) == sources(".py", ".pyi", ".lua", "py.typed")


@pytest.mark.skipif(bool(protocol.missing_modules()), reason="there is no C compiler")
def test_the_compiled_wheel_holds_what_runs(built: Distributions) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    modules = {name.removesuffix(".pyx") + suffix for name in sources(".pyx")}
    assert len(modules) == len(COMPILED_MODULES)
    assert package_in(built.from_tree) == sources(".py", ".pyi", ".lua", "py.typed") | modules
    assert built.from_tree.stat().st_size < 1.2 * MEGABYTE
    assert "none-any" not in built.from_tree.name


@pytest.mark.skipif(bool(protocol.missing_modules()), reason="there is no C compiler")
def test_compiled_modules_tell_nothing_of_the_machine_that_built_them(built: Distributions) -> None:
    with zipfile.ZipFile(built.from_tree) as wheel:
        for name in wheel.namelist():
            if not name.endswith((".so", ".pyd")):
                continue
            module = wheel.read(name)
            for folder in (built.tree, built.tree.parent, ROOT, Path.home(), Path(sys.base_prefix)):
                assert str(folder).encode() + b"/" not in module, (name, folder)
            for section in (b".debug_info", b".debug_line", b".symtab"):
                assert sys.platform != "linux" or section not in module, (name, section)


def test_a_machine_whose_compiler_does_not_work_builds_the_pure_wheel(built: Distributions, tmp_path: Path) -> None:
    """Not one that claims a platform and has nothing of it inside."""
    assert build(built.tree, tmp_path, "--wheel", CC="/nonexistent").read_bytes() == built.pure.read_bytes()
