"""What is built has exactly one importable name, with everything in it; and the lock fits the rest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pytest

from callengine.esl import sieve

ROOT = Path(__file__).parents[1]
MAPPED = ("ai", "api", "config")
NEEDED = ("callengine", *MAPPED, "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


def copied(source: Path, target: Path) -> None:
    """Copies a folder with its symlinks, without what Python and type checkers leave in it."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist, and a wheel built from that sdist, without network."""
    folder = tmp_path_factory.mktemp("packaging")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in NEEDED:
        copied(ROOT / name, checkout / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def in_wheel(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def in_checkout() -> set[str]:
    """What of the checkout belongs into the package, under the names that it is to have there."""
    names = set()
    for folder, name in [("callengine", "callengine"), *((mapped, f"callengine/{mapped}") for mapped in MAPPED)]:
        # Neither symlinks nor what is under them: rglob does not follow, and the mapped folders are walked themselves.
        for file in (ROOT / folder).rglob("*"):
            relative = file.relative_to(ROOT / folder)
            through_link = folder == "callengine" and relative.parts[0] in MAPPED
            # What was built lies in a checkout, and is built anew for a wheel; its source comes in the sdist alone.
            compiled = file.suffix in (".c", ".so") or "__pycache__" in relative.parts
            if file.is_file() and not through_link and not compiled:
                names.add(str(PurePosixPath(name, *relative.parts)))
    return names


def test_one_importable_name(in_wheel: set[str]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in in_wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"callengine"}


def test_nothing_is_missing_and_nothing_is_extra(in_wheel: set[str]) -> None:
    packed = {name for name in in_wheel if name.startswith("callengine/")}
    assert in_checkout() - packed == set(), "list it in [tool.setuptools]: packages, or package-data"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert packed - in_checkout() == ({f"callengine/esl/_sieve{suffix}"} if builds_extensions() else set())
    assert {"callengine/py.typed", "callengine/config/callengine.toml"} <= packed
    assert "callengine/config/freeswitch/event_socket.conf.xml" in packed
    assert {"callengine/config/prometheus/prometheus.yml", "callengine/config/grafana/callengine.json"} <= packed


def builds_extensions() -> bool:
    """Whether there are a C compiler and Python's headers."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    return shutil.which(compiler) is not None and Path(sysconfig.get_paths()["include"], "Python.h").exists()


def test_what_is_compiled_has_a_new_version_with_each_change() -> None:
    # What an older source was built into may lie around; it is used only if it has the version that sieve.py asks for.
    source = (ROOT / "callengine/esl/_sieve.c").read_bytes()
    assert f"#define VERSION {sieve._VERSION}\n".encode() in source
    assert (sieve._VERSION, sha256(source).hexdigest()[:16]) == (2, "d4f56dbfc21f192d"), (
        "raise both versions, then note it here"
    )


def test_without_a_compiler_it_is_built_all_the_same(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", str(sdist)]
    environment = os.environ | {"CC": "/no/such/compiler"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]


def test_the_source_of_what_is_compiled_comes_with_it(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert [name for name in archive.getnames() if name.endswith("callengine/esl/_sieve.c")]


def test_what_pip_is_told(built: Path, in_wheel: set[str]) -> None:
    (wheel,) = built.glob("*.whl")
    (entry_points,) = [name for name in in_wheel if name.endswith("/entry_points.txt")]
    (metadata,) = [name for name in in_wheel if name.endswith("/METADATA")]
    with zipfile.ZipFile(wheel) as archive:
        assert "callengine = callengine.cli.main:main" in archive.read(entry_points).decode()
        head = archive.read(metadata).decode()
    assert "\nLicense-Expression: MIT\n" in head
    assert {"ai", "otel", "postgres", "s3"} <= set(re.findall(r"^Provides-Extra: (.+)$", head, re.MULTILINE))


def test_the_sdist_has_no_second_copy(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [PurePosixPath(*PurePosixPath(member.name).parts[1:]) for member in archive.getmembers()]
    modules = [name for name in names if name.suffix == ".py"]
    assert len(modules) == len(set(modules))
    assert not [name for name in modules if name.parts[0] == "callengine" and name.parts[1] in MAPPED]


def test_it_runs_from_the_wheel_alone(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import callengine, callengine.api, callengine.ai, callengine.config.settings as s, sys\n"
        "assert callengine.__file__.startswith(sys.argv[1]), callengine.__file__\n"
        "assert s.__file__.startswith(sys.argv[1]), s.__file__\n"
        "import importlib.util as u\n"
        "assert [n for n in ('api', 'ai', 'config') if u.find_spec(n)] == []\n"
    )
    # -S would hide the dependencies; -I hides the checkout, and PYTHONPATH is what a regular install comes down to.
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, sys.argv[1])\n{code}", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_symlinks_that_type_checkers_follow() -> None:
    for name in MAPPED:
        link = ROOT / "callengine" / name
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{name}"


def lock_entries() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text(encoding="ascii")
    return {re.split(r"[\[=]", line)[0]: line for line in re.split(r"\n(?=\S)", text.strip()) if line[0] != "#"}


def test_the_lock_pins_and_hashes_everything() -> None:
    for name, entry in lock_entries().items():
        assert re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==\S+", entry), name
        assert "--hash=sha256:" in entry, name


def test_the_lock_names_no_registry_and_no_path() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="ascii")
    assert not re.search(r"://|--index|--extra-index|--find-links|@ |(^|\s)[./]", text, re.MULTILINE)


def test_the_lock_has_every_dependency() -> None:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project = tomllib.load(stream)["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for name in ("ai", "otel", "postgres", "dev") for one in extras[name])]
    names = {re.split(r"[\[<>=!~ ]", requirement)[0].lower() for requirement in wanted}
    assert names - set(lock_entries()) == set(), "run: make lock"


def test_runtime_dependencies_have_bounds() -> None:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project = tomllib.load(stream)["project"]
    extras = project["optional-dependencies"]
    runtime = [one for name in ("ai", "otel", "postgres", "s3") for one in extras[name]]
    for requirement in [*project["dependencies"], *runtime]:
        assert re.search(r">=[\d.]+,<[\d.]+$", requirement), requirement
