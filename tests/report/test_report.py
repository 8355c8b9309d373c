"""Report: metrics files with all the scars of a killed and resumed run, verl's names, the command line."""

import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.tracking import FileLogger

from recap_verl.report.follow import summary
from recap_verl.report.load import load_metrics
from recap_verl.report.plots import curves
from recap_verl.report.table import change_table, weight_table
from recap_verl.report.validation import Change, changes


def write(path, *records, tail=""):
    path.write_text("".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in records) + tail)


def score(source, value):
    return {f"val-core/{source}/acc/mean@1": value}


def printed(table):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def run_report(run_dir):
    import typer

    from recap_verl.report.__main__ import main

    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [str(run_dir)])


def test_scores_of_verls_own_validation_and_file_logger(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "metrics.jsonl"))
    logger = FileLogger("project", "experiment")
    for step, accuracies in ((0, [0.0, 1.0, 0.0, 0.0]), (3, [1.0, 1.0, 0.0, 0.0])):
        infos = {"reward": accuracies, "acc": accuracies, "recap_objective/answer_format": [1.0] * 4}
        sources = np.array(["text/last", "text/last", "b", "b"])
        data = PPOTrainer._val_metrics_update(None, sources, ["1", "2", "3", "4"], infos, [np.array([2])])
        logger.log({**data, "nothing": float("nan")}, step)
    logger.finish()

    found = changes(load_metrics(tmp_path))
    assert {(c.data_source, c.before, c.after) for c in found} == {("text/last", 0.5, 1.0), ("b", 0.0, 0.0)}


def test_later_values_of_a_step_win_and_the_others_stay(tmp_path):
    write(tmp_path / "metrics.1.jsonl", (0, score("a", 0.1)), (1, {"x": 1, "y": 1}), (2, {"x": 2}))
    write(tmp_path / "metrics.2.jsonl", (1, score("a", 0.2)), (2, {"x": 20}), tail='{"step": 3, "da')
    write(tmp_path / "metrics.jsonl", (2, {"x": 200}), (3, {"x": 300, **score("a", 0.4)}))
    metrics = load_metrics(tmp_path)
    assert metrics.series("x") == ([1, 2, 3], [1, 200, 300])
    assert metrics.steps[1]["y"] == 1
    assert metrics.truncated_lines == 1
    assert changes(metrics) == [Change("a", 0.1, 0.4)]


def test_ten_restarts_are_read_in_the_order_of_their_numbers(tmp_path):
    for k in range(1, 11):
        write(tmp_path / f"metrics.{k}.jsonl", (1, {"x": k}))
    assert load_metrics(tmp_path).last("x") == 10


def test_retention_tells_the_score_before_training_when_the_first_file_is_gone(tmp_path):
    write(tmp_path / "metrics.jsonl", (4, {**score("a", 0.5), "recap/retention/a": 0.25}))
    assert changes(load_metrics(tmp_path)) == [Change("a", 0.25, 0.5)]


@pytest.mark.parametrize(("step", "expected"), [(0, Change("a", 0.5, None)), (4, Change("a", None, 0.5))])
def test_a_single_validation_is_before_or_after(tmp_path, step, expected):
    write(tmp_path / "metrics.jsonl", (step, {**score("a", 0.5)}))
    assert changes(load_metrics(tmp_path)) == [expected]
    assert printed(change_table([expected])).count(" - ") == 2


def test_the_largest_number_of_samples_counts_and_best_of_n_does_not(tmp_path):
    data = {"val-core/a/acc/mean@2": 0.2, "val-core/a/acc/mean@16": 0.3, "val-core/a/acc/best@16/mean": 0.9}
    write(tmp_path / "metrics.jsonl", (0, data))
    assert changes(load_metrics(tmp_path)) == [Change("a", 0.3, None)]


def test_a_broken_line_inside_the_file_is_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "da\n{"step": 2, "data": {}}\n')
    with pytest.raises(ValueError, match="line 1 is no record"):
        load_metrics(tmp_path)


def test_weights_are_those_of_the_last_step(tmp_path):
    write(tmp_path / "metrics.jsonl", (1, {"recap/weight/a/iou": 1.0}), (2, {"recap/weight/a/iou": 1.25}))
    assert "a/iou" in printed(weight_table(load_metrics(tmp_path)))
    assert "1.250" in printed(weight_table(load_metrics(tmp_path)))


def test_command_prints_the_table_and_draws_the_curves(tmp_path):
    rewards = {"recap/reward/a/iou": 0.5, "recap/loss/b/ntp": 1.25, "recap/weight/iou": 1.0}
    write(tmp_path / "metrics.jsonl", (0, score("a", 0.5)), (1, {**rewards, **score("a", 0.25)}))
    result = run_report(tmp_path)
    assert result.exit_code == 0, result.output
    assert "-0.250" in result.output
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert curves(load_metrics(tmp_path)) == {
        "reward in training": {"a/iou": "recap/reward/a/iou"},
        "next-token loss": {"b/ntp": "recap/loss/b/ntp"},
        "weight": {"iou": "recap/weight/iou"},
        "validation score": {"a": "val-core/a/acc/mean@1"},
    }


def test_command_reports_plain_verl(tmp_path):
    write(tmp_path / "metrics.jsonl", (0, {"val-core/a/reward/mean@1": 0.5}))
    result = run_report(tmp_path)
    assert result.exit_code == 0, result.output
    assert "weights" not in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no metrics.jsonl"),
        ("", "no complete line"),
        ('{"step": 1', "no complete line"),
        ('{"step": 1, "data": {"x": 1}}\n', "no validation"),
    ],
)
def test_command_says_what_is_missing(tmp_path, text, message):
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    result = run_report(tmp_path)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "report.png").exists()


def test_a_step_in_one_line():
    data = {"recap/reward/a/iou": 0.5, "recap/reward/a/format": 1.0, "recap/loss/b/ntp": 1.25, "recap/weight/iou": 0.9}
    assert summary({"step": 3, "data": data}) == "a 0.75  b nll 1.25  weights 0.90-0.90"
