"""A training step with RECAP against plain verl GRPO on the same configuration, and RECAP's own share of it.

    python benchmarks/step_overhead.py [--model FOLDER] [--steps N] [hydra overrides ...]

Without --model a tiny random Qwen2 is built; give the folder of `python -m recap_verl.lab.smollm2` for a real one.
Both runs are real (verl's trainer, vLLM), one after the other; the first step of each, which warms up, is left out.
Generated lengths differ from run to run, so the step times of the two runs are compared as medians; `timing_s/recap`
is measured inside the very step it is a share of.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import verl_run

HERE = Path(__file__).resolve().parent
TRAINER = ["recap_verl.main_ppo"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=10)
    arguments, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, data = verl_run.prepare(folder, arguments.model)
        same = [*verl_run.overrides(model, data, arguments.steps), *overrides]
        with_recap = verl_run.run("recap", folder, TRAINER, [*same, f"recap.domains_file={data}/domains.yaml"]).steps
        reward = f"reward.custom_reward_function.path={HERE}/plain_reward.py"
        plain = verl_run.run("plain", folder, TRAINER, [*same, "recap.enable=false", reward]).steps
    own = [step["timing_s/recap"] for step in with_recap]
    shares = [step["timing_s/recap"] / step["timing_s/step"] for step in with_recap]
    median = {name: statistics.median(s["timing_s/step"] for s in r) for name, r in (("r", with_recap), ("p", plain))}
    waiting = statistics.median(step["timing_s/gen"] for step in plain)
    print(f"RECAP's own work per step: median {1e3 * statistics.median(own):.1f} ms, largest {1e3 * max(own):.1f} ms")
    print(f"share of its step:         median {statistics.median(shares):.3%}, largest {max(shares):.3%}")
    print(
        f"median step: {median['r']:.2f} s with RECAP, {median['p']:.2f} s plain, ratio {median['r'] / median['p']:.2f}"
    )
    print(f"(of the plain step, {waiting:.2f} s are generation, which verl looks at every 2 s)")


if __name__ == "__main__":
    main()
