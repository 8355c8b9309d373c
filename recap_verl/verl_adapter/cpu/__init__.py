"""verl and vLLM on a machine without an accelerator.

``platform``            the verl ``PlatformBase`` subclass named ``cpu``
``compat``              the differences verl 0.9.1 does not ask a platform about
``vllm_compat``         entry point of vLLM: weights stay loadable after a step
``torch_compat``        entry point of torch: torchvision and torchaudio beside a torch without CUDA
``checkpoint_engine``   weight transfer over gloo for ``trainer_mode=separate_async``

Nothing here takes effect where torch was built for an accelerator that is present.
"""
