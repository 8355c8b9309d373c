"""A plain-torch engine of the study: the same rows, sampler, objectives, advantages, loss and scheduler as verl's runs,
without Ray and vLLM, for sweeps and many seeds."""
