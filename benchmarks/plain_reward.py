"""The quickstart's main score as a plain verl reward function, for the run without RECAP."""

from recap_verl.objectives import get_objective

_EXACT_MATCH = get_objective("exact_match")


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return _EXACT_MATCH(solution_str, ground_truth, extra_info)
