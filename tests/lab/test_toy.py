"""The two-task toy problem: its gradients, its optimizer, and the command from end to end."""

import subprocess
import sys

import numpy as np
import pytest

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
