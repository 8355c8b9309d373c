"""`python -m recap_verl.self_replay` with a model that answers every prompt at once and in the same words."""

import sys
from types import SimpleNamespace

from recap_verl.self_replay.__main__ import app
from recap_verl.self_replay.parts import Answer

TEXT = "<answer>yes</answer>"


class OfflineRollout:
    """Stands in for the one of `verl_adapter.offline_rollout`, which starts vLLM."""

    def __init__(self, prompts, generation, tensor_parallel_size, gpu_memory_utilization):
        pass

    def check(self, rows: range) -> None:
        pass

    def answer(self, rows: range) -> list[Answer]:
        return [Answer(row, 0, TEXT, [*TEXT.encode(), 0], ended=True) for row in rows]


if __name__ == "__main__":
    sys.modules["recap_verl.verl_adapter.offline_rollout"] = SimpleNamespace(OfflineRollout=OfflineRollout)
    app()
