"""The table of results."""

import multiprocessing

import pytest
from study_table import make_rows

from recap_verl.lab.results import COLUMNS, append, finished, read, thinned


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "deep" / "results.csv"
    runs = make_rows(2)
    for rows in runs:
        append(path, rows)
    table = read(path)
    assert tuple(table.columns) == COLUMNS and len(table) == sum(map(len, runs))
    assert abs(table.value[0] - runs[0][0]["value"]) < 1e-6 and table.variant[0] == ""
    assert finished(path) == {
        ("fast", "vl", "b", arm, "", seed) for arm in ("reasoning_only", "uniform", "recap") for seed in (0, 1)
    }


def test_a_run_is_there_once_and_whole(tmp_path):
    path = tmp_path / "results.csv"
    first, second, *_ = make_rows(1)
    append(path, first)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"has the run .*reasoning_only.* already"):
        append(path, first)
    with pytest.raises(ValueError, match="rows of one run"):
        append(path, [*first, *second])
    with pytest.raises(ValueError, match="rows of one run"):
        append(path, [{**second[0], "more": 1}])
    assert path.read_bytes() == before


def test_runs_that_end_together_are_all_kept(tmp_path):
    path, runs = tmp_path / "results.csv", make_rows(3)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append, args=(path, rows)) for rows in runs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(finished(path)) == len(runs) == 9


def test_other_tables_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has the columns a, b instead of engine"):
        read(path)
    path.write_text(f"{','.join(COLUMNS)}\nfast,vl,b,recap,,zero,0,a,greedy,iou,1\n")
    with pytest.raises(ValueError, match="is no table of results"):
        read(path)


def test_curves_are_kept_as_means_of_ten_steps():
    run = {
        "engine": "fast",
        "study": "vl",
        "base": "b",
        "arm": "recap",
        "variant": "",
        "seed": 0,
        "data_source": "a",
        "metric": "m",
    }
    train = [{**run, "decoding": "train", "step": step, "value": float(step)} for step in range(1, 13)]
    greedy = [{**run, "decoding": "greedy", "step": step, "value": 0.5} for step in (0, 12)]
    found = thinned([greedy[0], *train, greedy[1]])
    assert [row for row in found if row["decoding"] == "greedy"] == greedy
    assert [(row["step"], row["value"]) for row in found if row["decoding"] == "train"] == [(10, 5.5), (12, 11.5)]
