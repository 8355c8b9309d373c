"""Adam for many independent runs at once."""

import numpy as np


class Adam:
    """torch.optim.Adam without weight decay (arXiv 1412.6980), on an array of any shape.

    Attributes: `parameters`, a copy of what was given, moved by every `step`.
    """

    def __init__(self, parameters: np.ndarray, learning_rate: float, betas=(0.9, 0.999), epsilon: float = 1e-8):
        self.parameters = np.array(parameters, dtype=float)
        self._learning_rate, self._betas, self._epsilon = learning_rate, betas, epsilon
        self._mean = np.zeros_like(self.parameters)
        self._square = np.zeros_like(self.parameters)
        self._steps = 0

    def step(self, gradient: np.ndarray) -> None:
        """Move the parameters against `gradient`, which has their shape."""
        self._steps += 1
        first, second = self._betas
        self._mean += (1 - first) * (gradient - self._mean)
        self._square += (1 - second) * (gradient**2 - self._square)
        size = self._learning_rate / (1 - first**self._steps)
        scale = np.sqrt(self._square / (1 - second**self._steps)) + self._epsilon
        self.parameters -= size * self._mean / scale
