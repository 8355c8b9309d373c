"""The report of a table with known effects."""

import pytest
from study_table import make_rows
from typer.testing import CliRunner

from recap_verl.lab.__main__ import app
from recap_verl.lab.report import write_report
from recap_verl.lab.results import append


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "results.csv"
    for engine, seeds in (("fast", 4), ("verl", 1)):
        for rows in make_rows(seeds, engine=engine):
            append(path, rows)
    return path


def test_tables_figures_and_a_page_that_needs_nothing_else(table, tmp_path):
    files = {path.name: path for path in write_report(table, tmp_path / "out", "vl")}
    for figure in ("differences", "scores", "rewards", "weights", "signals", "length"):
        assert files[f"vl-fast-{figure}.png"].read_bytes().startswith(b"\x89PNG")
    text = files["vl.md"].read_text()
    assert "| base |" in text and "| reasoning_only | 4 |" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| reasoning_only |  | 4 | ") and "t [" in line][
        :1
    ]
    # 22 points below uniform, known exactly enough to be bold.
    assert "**-2" in line
    page = files["vl.html"].read_text()
    assert page.count("data:image/png;base64,") == len([name for name in files if name.endswith(".png")])
    assert "http" not in page and "<td>reasoning_only</td>" in page


def test_two_arms_compared(table):
    call = CliRunner(env={"COLUMNS": "200"}).invoke
    found = call(app, ["compare", "recap", "uniform", "--table", str(table)])
    assert found.exit_code == 0, found.output
    greedy = next(line for line in found.output.splitlines() if line.startswith("| greedy | 4 |"))
    target, others = greedy.split(" | ")[2:4]
    # The effects that the table was made with: 4 points on the others, none on the target.
    assert "**" not in target and others.startswith("**+") and abs(float(others[2:].split()[0]) - 4) < 1.5
    stranger = call(app, ["compare", "recap T=1", "uniform", "--table", str(table)])
    assert (
        stranger.exit_code == 2 and "no run is called 'recap T=1'; there are: reasoning_only; recap;" in stranger.output
    )


def test_mistakes_are_one_sentence(table, tmp_path):
    report = CliRunner(env={"COLUMNS": "200"}).invoke
    missing = report(app, ["report", "--table", str(tmp_path / "none.csv"), "--out", str(tmp_path)])
    assert missing.exit_code == 2 and "is not there: run arms first" in missing.output
    unknown = report(app, ["run", "--arms", "rcap", "--table", str(table)])
    assert unknown.exit_code == 2 and "no arm is called 'rcap'" in unknown.output
    seeds = report(app, ["run", "--arms", "recap", "--seeds", "x", "--table", str(table)])
    assert seeds.exit_code == 2 and "--seeds is 'x'" in seeds.output
    key = report(app, ["run", "--arms", "recap", "--set", "scheduler.temperatur=1", "--table", str(table)])
    assert key.exit_code == 2 and "temperatur" in key.output
    option = report(app, ["run", "--arms", "recap", "--study-option", "step=1", "--table", str(table)])
    assert option.exit_code == 2 and "--study-option step: choose among steps" in option.output
