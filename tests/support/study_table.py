"""A table of results with known effects."""

import numpy as np

SOURCES = {
    "lab/reason": ("accuracy", "think_format"),
    "lab/ground": ("iou", "answer_format"),
    "lab/facts": ("exact_match",),
}
# Arm -> change of target, of every other data source.
EFFECTS = {"reasoning_only": (0.3, -0.2), "uniform": (0.28, 0.02), "recap": (0.28, 0.06)}


def make_rows(
    seeds: int = 8, steps=(0, 50, 100), noise: float = 0.01, engine: str = "fast", base: str = "b", level: float = 0.5
) -> list[list[dict]]:
    """The rows of each run; all arms of a seed share that seed's luck, all of a base its level."""
    runs = []
    for seed in range(seeds):
        luck = np.random.default_rng(seed).normal(0, 0.05)
        for number, (arm, (target, other)) in enumerate(EFFECTS.items()):
            rng = np.random.default_rng([seed, number])
            head = {"engine": engine, "study": "vl", "base": base, "arm": arm, "variant": "", "seed": seed}
            rows = []
            for step in steps:
                for source, metrics in SOURCES.items():
                    effect = (target if source == "lab/reason" else other) * step / steps[-1]
                    for decoding in ("greedy", "sampled"):
                        for metric in metrics:
                            value = level + effect + (luck + rng.normal(0, noise) if step else 0.0)
                            rows.append(
                                {
                                    **head,
                                    "step": step,
                                    "data_source": source,
                                    "decoding": decoding,
                                    "metric": metric,
                                    "value": value,
                                }
                            )
                if step:
                    for metric in ("weight/iou", "convergence/iou", "instability/iou"):
                        rows.append(
                            {
                                **head,
                                "step": step,
                                "data_source": "",
                                "decoding": "train",
                                "metric": metric,
                                "value": 1.0,
                            }
                        )
                    for metric in ("reward/iou", "response_length"):
                        rows.append(
                            {
                                **head,
                                "step": step,
                                "data_source": "ground",
                                "decoding": "train",
                                "metric": metric,
                                "value": 0.5,
                            }
                        )
            runs.append(rows)
    return runs
