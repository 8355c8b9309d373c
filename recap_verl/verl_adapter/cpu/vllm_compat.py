"""Entry point ``vllm.general_plugins``: make vLLM's models ready for weights that verl sends them.

On every machine images keep their normalisation (``vllm_input_norm``).

On a CPU weights stay where an update finds them: vLLM 0.30 repacks each linear weight for its CPU kernels and drops the
original (``vllm/model_executor/layers/utils.py:dispatch_cpu_unquantized_gemm``), after which verl's synchronisation of
weights fails with "no attribute weight_loader". A model that is trained between two rollouts keeps plain ones instead.
"""

import torch

from recap_verl.verl_adapter.vllm_input_norm import keep_input_norm


def register() -> None:
    """Called by vLLM in each of its processes."""
    from vllm.platforms import current_platform

    keep_input_norm()

    if not current_platform.is_cpu():
        return
    from vllm.model_executor.layers import utils

    utils.dispatch_cpu_unquantized_gemm = _keep_plain_linear


def _keep_plain_linear(layer: torch.nn.Module, remove_weight: bool) -> None:
    layer.cpu_linear = torch.nn.functional.linear
