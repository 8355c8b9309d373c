"""Wheels for CUDA beside a torch for CPUs."""

from types import ModuleType, SimpleNamespace

import pytest
import torch

from recap_verl.verl_adapter.cpu import torch_compat


@pytest.fixture
def untouched(monkeypatch):
    """torch_compat as before its first call, with what it makes absent and defines recorded."""
    monkeypatch.setattr(torch_compat, "_LIBRARIES", [])
    defined = []

    class Library:
        def __init__(self, namespace, kind):
            assert (namespace, kind) == ("torchvision", "FRAGMENT")

        def define(self, schema):
            defined.append(schema)

    monkeypatch.setattr(torch_compat.torch_library, "Library", Library)
    monkeypatch.setattr(torch_compat, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    return SimpleNamespace(defined=defined, modules=torch_compat.sys.modules)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A function that makes the named packages, and no others, the installed ones: name -> its library's content."""

    def install(**libraries):
        for package, content in libraries.items():
            (tmp_path / package / "lib").mkdir(parents=True)
            (tmp_path / package / "lib" / "_C.so").write_bytes(content)

        def find_spec(name):
            return SimpleNamespace(submodule_search_locations=[str(tmp_path / name)]) if name in libraries else None

        monkeypatch.setattr(torch_compat.importlib.util, "find_spec", find_spec)

    return install


FOR_CUDA = b"\x7fELF ... libcudart.so.13 ..."
FOR_CPUS = b"\x7fELF ... libtorch_cpu.so ..."


def test_wheels_for_cuda_beside_a_torch_for_cpus(untouched, installed):
    installed(torchvision=FOR_CUDA, torchaudio=FOR_CUDA)
    torch_compat.register()
    torch_compat.register()
    assert [schema.partition("(")[0] for schema in untouched.defined] == ["nms", "qnms"]
    assert untouched.modules == {"torchaudio": None}  # an import of it then raises ImportError


@pytest.mark.parametrize(("attribute", "value"), [("cuda", "12.8"), ("hip", "6.4")])
def test_nothing_happens_beside_a_torch_for_gpus(monkeypatch, untouched, installed, attribute, value):
    monkeypatch.setattr(torch.version, attribute, value)
    installed(torchvision=FOR_CUDA, torchaudio=FOR_CUDA, torchcodec=FOR_CUDA)
    torch_compat.register()
    assert untouched.defined == [] and untouched.modules == {}


def test_builds_for_cpus_are_left_alone(untouched, installed):
    installed(torchvision=FOR_CPUS, torchcodec=FOR_CPUS)
    torch_compat.register()
    assert untouched.defined == [] and untouched.modules == {}


@pytest.mark.parametrize(("build", "available"), [(FOR_CUDA, False), (FOR_CPUS, True)])
def test_datasets_imported_before_torch_learns_that_torchcodec_is_absent(untouched, installed, build, available):
    untouched.modules["datasets.config"] = config = SimpleNamespace(TORCHCODEC_AVAILABLE=True)
    installed(torchcodec=build)
    torch_compat.register()
    assert available == config.TORCHCODEC_AVAILABLE


def test_a_package_that_is_loaded_stays_loaded(untouched, installed):
    installed(torchaudio=FOR_CUDA)
    untouched.modules["torchaudio"] = loaded = ModuleType("torchaudio")
    torch_compat.register()
    assert untouched.modules["torchaudio"] is loaded


def test_torchvision_can_be_imported():
    from torchvision.transforms import functional

    assert callable(functional.resize)
