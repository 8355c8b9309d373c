"""The modules beside the tests that are no tests: the kit, and one file of fixtures for each data set."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"data_prep_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    return load(HERE / "kit.py")


@pytest.fixture(scope="session")
def make_source(kit, tmp_path_factory):
    """`make_source(name, layout)` -> (path of the source, keyword arguments of `open_source`); each made once."""
    made = {}

    def make(name: str, layout: str) -> tuple[Path, dict]:
        if (name, layout) not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{layout}")
            made[name, layout] = (folder, getattr(load(HERE / "fixtures" / f"{name}.py"), layout)(kit, folder) or {})
        return made[name, layout]

    return make
