"""What is installed: the package list, the wheel, the sdist, the editable forms and the number of dependencies."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from roughfed.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS = {"roughfed": "shared", "roughfed.server": "server", "roughfed.client": "client", "roughfed.deploy": "deploy"}
NOT_PACKAGES = {"deploy/examples"}  # read by people and started as files, never imported
MAX_DEPENDENCIES = 26


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def package_of(folder: Path) -> str:
    root, *rest = folder.relative_to(ROOT).parts
    return ".".join(["roughfed", *([] if root == "shared" else [root]), *rest])


def packages_on_disk() -> set[str]:
    return {package_of(p.parent) for f in FOLDERS.values() for p in (ROOT / f).rglob("__init__.py")}


def closure(names: Iterable[str]) -> set[str]:
    """The names and all that they need here, without extras that nobody asked for."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        requirement = Requirement(todo.pop())
        name = canonical(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        todo += [r for r in requires(name) or [] if wanted(Requirement(r), requirement.extras)]
    return seen


def wanted(requirement: Requirement, extras: set[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras | {""})


def test_the_package_list_matches_the_disk() -> None:
    assert SETUPTOOLS["package-dir"] == FOLDERS
    assert len(SETUPTOOLS["packages"]) == len(set(SETUPTOOLS["packages"]))
    assert set(SETUPTOOLS["packages"]) == packages_on_disk()


def test_every_folder_with_python_is_a_package() -> None:
    folders = {p.parent for f in FOLDERS.values() for p in (ROOT / f).rglob("*.py")}
    bare = {f.relative_to(ROOT).as_posix() for f in folders if not (f / "__init__.py").exists()}
    assert {b for b in bare if not any(b == n or b.startswith(n + "/") for n in NOT_PACKAGES)} == set()


def test_the_type_checker_is_strict_on_the_whole_product() -> None:
    rules = PROJECT["tool"]["basedpyright"]
    assert rules["typeCheckingMode"] == "strict"
    assert rules["include"] == ["build/tree/roughfed"]
    # Generated code, and examples that stand as users write them.
    assert set(rules["exclude"]) == {"build/tree/roughfed/pb", "build/tree/roughfed/deploy/examples", "**/__pycache__"}
    relaxed = {rule for rule, level in rules.items() if rule.startswith("report") and level is False}
    assert relaxed == {"reportMissingTypeStubs", "reportUnknownMemberType"}


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_a_folder_refuses_its_bare_name(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"not {folder}: the folder is installed as the package" in done.stderr


def test_few_dependencies_and_none_of_them_trains() -> None:
    found = closure(PROJECT["project"]["dependencies"])
    assert {"grpcio", "pydantic-core", "llvmlite"} <= found  # the walk goes deep
    assert len(found) <= MAX_DEPENDENCIES, sorted(found)
    assert not found & {"torch", "torchvision", "scikit-learn", "scipy", "ray"}


def test_the_extras_are_those_that_errors_name() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    distributions = {"sklearn": "scikit-learn"}
    for module, (extra, _) in EXTRAS.items():
        assert distributions.get(module, module) in {Requirement(r).name for r in extras[extra]}


def test_constraints_name_every_developer_tool_and_no_build_or_host() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {canonical(Requirement(line).name): line for line in lines}
    needed = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert {canonical(Requirement(r).name) for r in needed} - {"setuptools"} <= pinned.keys()
    assert pinned.pop("torch") == "torch>=2.6"
    assert all("==" in line and "+" not in line and "/" not in line for line in pinned.values())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the repository: building writes beside the sources."""
    copy = tmp_path_factory.mktemp("source") / "roughfed"
    skip = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info", "__pycache__"
    )
    return shutil.copytree(ROOT, copy, ignore=skip)


@pytest.fixture(scope="module")
def built(source: Path) -> Path:
    """The folder with the sdist and the wheel that is built from it; uses the installed setuptools, no download."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


def shipped(source: Path) -> set[str]:
    """The files of the listed packages that must be in the wheel, by their name in it."""
    suffixes = {".py", ".pyi", ".typed", ".json", ".css", ".html", ".js", ".service", ".conf"}
    return {
        (Path(package.replace(".", "/")) / path.name).as_posix()
        for package in SETUPTOOLS["packages"]
        for path in folder_of(package, source).iterdir()
        if path.suffix in suffixes or path.name in ("py.typed", "LICENSES.txt")
    }


def folder_of(package: str, source: Path) -> Path:
    parts = package.split(".")[1:]
    return source.joinpath(*(parts if package.startswith(tuple(list(FOLDERS)[1:])) else ["shared", *parts]))


def test_the_wheel_holds_roughfed_and_nothing_else(built: Path, source: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert names == shipped(source)
    assert {n.split("/")[0] for n in names} == {"roughfed"}


def test_the_wheel_names_its_licence_and_its_command(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        about = {n.split(".dist-info/")[1]: archive.read(n).decode() for n in archive.namelist() if ".dist-info/" in n}
    assert "License-Expression: Apache-2.0" in about["METADATA"]
    assert "Apache License" in about["licenses/LICENSE"]
    assert "roughfed = roughfed.deploy.cli:main" in about["entry_points.txt"]


def test_the_sdist_is_the_whole_repository(built: Path, source: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    wanted_files = {
        "Makefile",
        "pyproject.toml",
        "LICENSE",
        "proto/v1/federation.proto",
        "tests/conftest.py",
        ".ci/run",
    }
    assert wanted_files <= names
    for folder in ("proto", "shared", "server", "client", "deploy", "tests", "docs"):
        here = {p.relative_to(source).as_posix() for p in (source / folder).rglob("*") if p.is_file()}
        assert {n for n in here if "__pycache__" not in n} <= names, folder
    assert not any("__pycache__" in n for n in names)


def import_from(site: Path, cwd: Path) -> str:
    """Where roughfed comes from when `site` is a site folder of an interpreter that has no other roughfed."""
    code = f"import site; site.addsitedir({str(site)!r}); import roughfed, roughfed.server; print(roughfed.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_installs(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path,
        wheel,
    ]
    subprocess.run(command, check=True)
    assert import_from(tmp_path, Path("/")).startswith(str(tmp_path))


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_an_editable_install_imports(source: Path, tmp_path: Path, mode: str) -> None:
    build = (
        f"from setuptools.build_meta import build_editable as b; b({str(tmp_path)!r}, {{'editable_mode': {mode!r}}})"
    )
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    for cwd in (Path("/"), source):  # the source folder must not shadow what is installed
        assert import_from(tmp_path, cwd).startswith(str(source))


@pytest.mark.parametrize("program", ["roughfed.deploy.aggregator, roughfed.server.app", "roughfed.deploy.agent"])
def test_a_process_in_the_clear_loads_no_compiler(program: str) -> None:
    """Numba costs 25 MiB and half a second; only a masked round, and an int8 codec, have kernels."""
    look = (
        f"import sys, {program}; sys.exit(', '.join(n for n in ('numba', 'torch', 'scipy') if n in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
