"""The study on a real language model, SmolLM2-135M-Instruct, with text alone."""
