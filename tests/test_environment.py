"""pyproject.toml, requirements.lock and environment.yml name the same environment, and import stays light."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
TORCH = "2.13.0"
# conda-forge's name -> PyPI's, where they differ
CONDA_NAMES = {"pytorch": "torch", "python-duckdb": "duckdb", "playwright-python": "playwright"}
NOT_FROM_PYPI = {"python", "pip"}  # what environment.yml needs besides


def direct_requirements(*, docs: bool = False) -> dict[str, Requirement]:
    """What pyproject.toml asks for; the tools of the documentation are locked apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    apart = extras.pop("docs")
    lines = apart if docs else project["dependencies"] + [line for extra in extras.values() for line in extra]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


LOCKS = ["requirements.lock", "requirements-torch.lock", "docs/requirements.lock"]


def lock_lines(file: str) -> list[str]:
    """One a package: the pin, where it holds, and its hashes."""
    lines = (ROOT / file).read_text().replace("\\\n", "").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def lock_pins(*files: str) -> dict[str, str]:
    """What the locks install on this system."""
    pins = [Requirement(line.partition(" --hash")[0]) for file in files or LOCKS[:2] for line in lock_lines(file)]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in here}


def conda_pins() -> dict[str, str]:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pins: dict[str, str] = {}
    for line in environment["dependencies"]:
        if isinstance(line, dict):
            pins |= dict(item.split("==") for item in line["pip"])
        elif (name := re.split("[=<>]", line)[0]) not in NOT_FROM_PYPI:
            pins[CONDA_NAMES.get(name, name)] = line.partition("=")[2]
    return {canonicalize_name(name): version for name, version in pins.items()}


@pytest.mark.parametrize("file", LOCKS)
def test_lock_holds_plain_exact_pins_only(file: str) -> None:
    """No index, no host, no path, no local version: the lock installs from whatever index the machine uses."""
    plain = r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*( ; [^#@/\\]+?)?( +--hash=sha256:[0-9a-f]{64})*"
    odd = [line for line in lock_lines(file) if not re.fullmatch(plain, line)]
    assert not odd, f"{file} may only hold lines like name==1.2.3 with hashes; run `make lock`. Found: {odd}"
    assert "://" not in (ROOT / file).read_text()


def test_every_pin_but_torch_carries_hashes() -> None:
    bare = [line for file in LOCKS for line in lock_lines(file) if "--hash=sha256:" not in line]
    assert bare == [f"torch=={TORCH}"], f"pip cannot check these: run `make lock`. {bare}"


def test_make_installs_by_hash_and_names_torch_once() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installs = [line for line in makefile.splitlines() if re.search(r" install .*-r \S+", line)]
    for line in installs:
        assert "--require-hashes --no-deps" in line or line.endswith("-r requirements-torch.lock"), line
    assert len(installs) == 4 and TORCH not in makefile


def test_lock_has_the_agreed_torch_and_no_cuda() -> None:
    assert lock_pins()["torch"] == TORCH
    cuda = [line for file in LOCKS for line in lock_lines(file) if line.startswith(("nvidia", "cuda", "triton"))]
    assert not cuda, f"the lock is for the CPU build of torch; these came with another: {cuda}"


@pytest.mark.parametrize("where, pins", [("requirements.lock", lock_pins()), ("environment.yml", conda_pins())])
def test_every_direct_dependency_is_pinned_within_its_bounds(where: str, pins: dict[str, str]) -> None:
    for name, requirement in direct_requirements().items():
        assert name in pins, f"{where} lacks {name}, which pyproject.toml asks for"
        assert requirement.specifier.contains(Version(pins[name])), f"{where}: {name} {pins[name]}, not {requirement}"


def test_the_documentations_tools_are_pinned_within_their_bounds() -> None:
    pins = lock_pins("docs/requirements.lock")
    for name, requirement in direct_requirements(docs=True).items():
        assert requirement.specifier.contains(Version(pins[name])), f"{name} {pins[name]}, not {requirement}"
    assert not set(pins) & set(lock_pins())


def test_environment_yml_has_the_locks_versions_and_nothing_else() -> None:
    locked = lock_pins()
    assert conda_pins() == {name: locked.get(name) for name in direct_requirements()}


def test_installed_versions_are_the_locked_ones() -> None:
    """The environment the tests run in is the one the lock describes (local suffixes such as +cpu do not count)."""
    from importlib.metadata import version

    locked = lock_pins()
    differ = {
        name: (version(name), locked[name])
        for name in direct_requirements()
        if Version(version(name)).public != locked[name]
    }
    assert not differ, f"installed and locked versions differ; run `make .venv/.installed`: {differ}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = [
        "torch",
        "transformers",
        "pandas",
        "numpy",
        "scipy",
        "sklearn",
        "seaborn",
        "umap",
        "duckdb",
        "ipywidgets",
        "pydantic",
        "jinja2",
    ]
    code = f"import sys, ehrmem_widgets; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_unknown_name_is_refused_with_what_there_is() -> None:
    import ehrmem_widgets

    assert {"ExplorePatient", "MedsDataset"} <= set(dir(ehrmem_widgets))
    with pytest.raises(AttributeError, match=r"it offers .*ExplorePatient.*MedsDataset"):
        _ = ehrmem_widgets.Explore


def test_the_version_is_the_same_wherever_it_stands() -> None:
    from ehrmem_widgets import __version__

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    newest = re.search(r"^## \[(?!Unreleased).*", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and __version__ in newest[0]


def test_the_readme_is_short_and_has_its_pictures() -> None:
    text = (ROOT / "README.md").read_text()
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(text.splitlines()) <= 150 and pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
