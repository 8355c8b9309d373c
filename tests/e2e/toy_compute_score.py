"""A plain verl reward function, as a recipe without RECAP has it."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return sum(c.islower() for c in solution_str) / max(1, len(solution_str))
