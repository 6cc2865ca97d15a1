r"""A judge that is noisy, averaged over several opinions (critiques, votes).

An opinion on an output is its truth plus a bias f b(y), the same in every opinion, plus noise of standard deviation s.
The mean of k opinions orders two outputs that lie Delta apart rightly with probability

    Phi( Delta / sqrt(2 (s^2 / k + f^2)) ),

which has a ceiling below 1 however many there are. This is variance reduction; it says nothing of what critiques say.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from pgdyn import validate
from pgdyn.validate import Numbers


@dataclasses.dataclass(frozen=True)
class NoisyJudge:
    """A judge of noise s and floor f, asked k times.

    Attributes:
        noise: s, of one opinion.
        floor: f, the standard deviation of what averaging does not remove.
        samples: k.

    Raises:
        ValueError: on negative numbers or fewer than one opinion.

    Example:
        >>> [round(NoisyJudge(2.0, 0.5, k).accuracy(1.0), 4) for k in (1, 4, 16, 64)]
        [0.6342, 0.7365, 0.8413, 0.897]
    """

    noise: float
    floor: float = 0.0
    samples: int = 1

    def __post_init__(self):
        validate.number("noise", self.noise, minimum=0.0)
        validate.number("floor", self.floor, minimum=0.0)
        validate.count("samples", self.samples, minimum=1)

    def accuracy(self, gap: float) -> float:
        """The probability that two outputs whose truths differ by `gap` are ordered rightly.

        Example:
            >>> round(NoisyJudge(0.0, 0.5).accuracy(1.0), 4)
            0.9214
        """
        spread = math.sqrt(2 * (self.noise**2 / self.samples + self.floor**2))
        if spread == 0:
            return 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
        return 0.5 * math.erfc(-gap / spread / math.sqrt(2))

    def scores(self, true_reward: Numbers, seed: int | np.random.Generator = 0) -> np.ndarray:
        """The judge's mean opinions on outputs of these truths: the truth, plus bias, plus what is left of the noise.

        Example:
            >>> NoisyJudge(0.0).scores([1.0, 2.0]).tolist()
            [1.0, 2.0]
        """
        rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
        truth = np.asarray(validate.as_floats("true_reward", true_reward))
        bias, rest = rng.standard_normal((2, *truth.shape))
        return truth + self.floor * bias + self.noise / math.sqrt(self.samples) * rest
