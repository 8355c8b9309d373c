"""Intervals cover what they should, and known effects are found."""

import numpy as np
import pandas as pd
import pytest
from study_table import EFFECTS, make_rows

from recap_verl.lab.report import MEASURES
from recap_verl.lab.statistics import at_end, continual_learning, estimate, paired, validation


def learned(runs) -> pd.DataFrame:
    rows = pd.DataFrame([row for rows in runs for row in rows])
    ends = continual_learning(at_end(validation(rows)), MEASURES["vl"])
    return ends[ends.decoding == "greedy"]


def test_differences_by_seed_find_the_effect_that_luck_hides():
    found = paired(learned(make_rows(8)), "final_average", "uniform", "fast")
    assert set(found) == {("reasoning_only", ""), ("recap", "")}
    recap, alone = found["recap", ""], found["reasoning_only", ""]
    assert recap.n == 8 and recap.t_low < 0.04 < recap.t_high and recap.excludes_zero
    assert alone.high < -0.2 and abs(alone.mean + 0.22) < 0.01
    assert not paired(learned(make_rows(8)), "target", "uniform", "fast")["recap", ""].excludes_zero


def test_runs_are_compared_with_those_from_the_same_base():
    runs = [*make_rows(4), *make_rows(4, base="weaker", level=0.2)]
    found = paired(learned(runs), "final_average", "uniform", "fast")["recap", ""]
    assert found.n == 8 and abs(found.mean - 0.04) < 0.01 and found.excludes_zero


def test_measures_of_continual_learning_worked_by_hand():
    run = {"engine": "fast", "study": "vl", "base": "b", "arm": "recap", "variant": "", "seed": 0, "decoding": "greedy"}
    scores = {"lab/reason": (0.2, 0.9, 0.8), "lab/ground": (0.6, 0.9, 0.7), "lab/facts": (1.0, 0.5, 0.4)}
    metrics = {source: MEASURES["vl"].main[source] for source in scores}
    rows = [
        {**run, "step": step, "data_source": source, "metric": metrics[source], "value": value}
        for source, values in scores.items()
        for step, value in zip((0, 10, 20), values, strict=True)
    ]
    (found,) = continual_learning(at_end(pd.DataFrame(rows)), MEASURES["vl"]).to_dict("records")
    assert found["target"] == 0.8
    assert found["final_average"] == pytest.approx((0.7 + 0.4) / 2)
    assert found["backward_transfer"] == pytest.approx((0.1 - 0.6) / 2)
    assert found["forgetting"] == pytest.approx((0.2 + 0.6) / 2)
    assert found["worst"] == pytest.approx(-0.6)


def test_a_run_without_a_base_is_named():
    rows = pd.DataFrame([row for row in make_rows(1)[0] if row["step"]])
    with pytest.raises(ValueError, match=r"not validated before training.*reasoning_only"):
        at_end(validation(rows))


def test_the_t_interval_covers_the_mean_of_eight_seeds_and_the_bootstrap_less_often():
    rng = np.random.default_rng(0)
    found = [estimate(rng.normal(0, 1, 8)) for _ in range(300)]
    covered = np.mean([e.t_low < 0 < e.t_high for e in found])
    by_bootstrap = np.mean([e.low < 0 < e.high for e in found])
    assert 0.92 < covered < 0.98
    assert 0.8 < by_bootstrap < covered


def test_few_seeds_have_no_interval():
    one, two, same = estimate(np.array([0.5])), estimate(np.array([0.4, 0.6])), estimate(np.full(5, 0.5))
    assert one.n == 1 and np.isnan([one.low, one.t_low]).all() and not one.excludes_zero
    assert np.isnan(two.low) and two.t_low < 0.5 < two.t_high and not two.excludes_zero
    assert (same.low, same.t_high) == (0.5, 0.5)
    assert set(EFFECTS) == {"reasoning_only", "uniform", "recap"}
