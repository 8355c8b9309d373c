"""The two-task toy problem: its gradients, its optimizer, and the command from end to end."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torchjd.aggregation import MGDA, CAGrad, NashMTL, PCGrad

from recap_verl.lab.toy.gradient_weighting import cagrad, mgda, nash_mtl, pcgrad
from recap_verl.lab.toy.problem import PROBLEMS, STARTS


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_are_those_of_the_losses(name):
    problem = PROBLEMS[name]
    points = np.random.default_rng(0).uniform(-9, 9, (200, 2))
    _, gradients = problem.losses_and_gradients(points)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 1e-6
        slopes = (problem.losses(points + step) - problem.losses(points - step)) / 2e-6
        assert np.median(np.abs(slopes - gradients[:, :, axis])) < 1e-6
        assert (np.abs(slopes - gradients[:, :, axis]) < 1e-3).mean() > 0.97, "but for kinks"


def test_values_worked_out_by_hand():
    # At (0, 0) both tanh factors vanish, and so do both losses.
    assert np.allclose(PROBLEMS["printed"].losses(np.zeros((1, 2))), 0.0)
    assert STARTS.shape == (5, 2)


def test_the_command_writes_table_and_figure(tmp_path):
    command = [sys.executable, "-m", "recap_verl.lab.toy", "--out", str(tmp_path), "--steps", "60", "--seeds", "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert {"toy.csv", "toy.md", "toy.png"} <= {file.name for file in tmp_path.iterdir()}
    table = (tmp_path / "toy.csv").read_text()
    assert "recap" in table and "uniform" in table


@pytest.fixture(scope="module")
def pairs():
    """Gradients of two tasks, from much alike to opposed and of different lengths."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 2, 3)) * np.exp(rng.normal(size=(40, 2, 1)))


@pytest.mark.parametrize(
    ("ours", "theirs", "exact"),
    [
        (pcgrad, PCGrad(), 1.0),
        (mgda, MGDA(epsilon=1e-9, max_iters=20), 1.0),
        (cagrad, CAGrad(c=0.5), 1.0),
        # An iteration that does not always arrive.
        (nash_mtl, NashMTL(n_tasks=2, max_norm=0.0, optim_niter=50), 0.9),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_closed_forms_for_two_tasks_are_the_directions_of_torchjd(ours, theirs, exact, pairs):
    expected = np.stack([theirs(torch.from_numpy(pair)).numpy() for pair in pairs])
    found = (ours(None, pairs)[:, :, None] * pairs).sum(axis=1)
    off = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert (off < 1e-4).mean() >= exact
