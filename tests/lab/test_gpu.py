"""The plain-torch engine on a GPU computes what it computes on a CPU; skipped where there is no GPU."""

import io

import pytest
import torch
from PIL import Image, ImageDraw

from recap_verl.lab import tiny_vl
from recap_verl.lab.fast import text_policy, vl_policy
from recap_verl.lab.fast.vl_policy import VLPolicy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def picture(side: int) -> bytes:
    image = Image.new("RGB", (84, 84), "white")
    ImageDraw.Draw(image).rectangle((10, 10, 10 + side, 10 + side), fill="red")
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def row(content: str, *images: bytes) -> dict:
    return {"prompt": [{"role": "user", "content": content}], "images": [{"bytes": image} for image in images]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "model"
    tiny_vl.main(folder)
    return folder


def policy(folder, device: str, monkeypatch) -> VLPolicy:
    for module in (text_policy, vl_policy):
        monkeypatch.setattr(module, "DEVICE", device)
    return VLPolicy(folder)


ROWS = [row("<image>where?", picture(20)), row("<image>where?", picture(50)), row("say ab")]


def test_log_probabilities_and_gradients_are_those_of_the_cpu(folder, monkeypatch):
    found = {}
    for device in ("cpu", "cuda"):
        model = policy(folder, device, monkeypatch)
        answers = [model.encode("left"), model.encode("right side"), model.encode("ab")]
        log_probs = model.log_probs(ROWS, answers)
        assert log_probs.device.type == "cpu"
        (log_probs * torch.arange(1.0, 4.0)[:, None]).sum().backward()
        gradient = torch.cat([p.grad.flatten().cpu() for p in model.model.parameters() if p.grad is not None])
        found[device] = log_probs.detach(), gradient
    for on_cpu, on_gpu in zip(found["cpu"], found["cuda"], strict=True):
        assert float((on_cpu - on_gpu).norm() / on_cpu.norm()) < 1e-4


def test_greedy_answers_are_those_of_the_cpu_and_a_seed_decides_sampled_ones(folder, monkeypatch):
    greedy, sampled = {}, []
    for device in ("cpu", "cuda"):
        model = policy(folder, device, monkeypatch)
        greedy[device] = model.sample(ROWS, 0.0, torch.Generator().manual_seed(0), 8)
    for seed in (0, 0, 1):
        sampled.append(model.sample(ROWS * 8, 1.0, torch.Generator().manual_seed(seed), 8))
    assert all(map(torch.equal, greedy["cpu"], greedy["cuda"]))
    assert all(map(torch.equal, sampled[0], sampled[1]))
    assert not all(map(torch.equal, sampled[0], sampled[2]))
