r"""What is said of a reward model: metrics with intervals, kinds of errors, worst prompts.

An item that is ranked wrong is of one of these kinds (arXiv 2604.25872, the table of error types; V_P is the mean score
of the prompt's responses under the initial policy):

    never attracts           rejected < V_P                                     harmless
    negligible probability   p(rejected) <= 1e-3 p(chosen), and not the above   harmless
    reward hacking           no response of the prompt scores higher            harmful
    stalling                 rejected >= V_P, but some other scores higher      harmful
    wrong                    V_P is not known                                   not known

and a response whose true reward lies between the prompt's mean and its best, scored below V_P, helps (escapes
mediocrity).
"""

from __future__ import annotations

import dataclasses

from pgdyn.metrics import intervals

NEVER, NEGLIGIBLE, HACKING, STALLING, WRONG = (
    "never attracts", "negligible probability", "reward hacking", "stalling", "wrong",
)  # fmt: skip
ESCAPES = "escapes mediocrity"
HARMLESS, HARMFUL = (NEVER, NEGLIGIBLE), (HACKING, STALLING)
WHY = {
    NEVER: "the rejected response scores below the prompt's mean, so it attracts no probability at first",
    NEGLIGIBLE: "the rejected response is a thousand times less likely than the chosen one",
    HACKING: "the rejected response scores highest, so training moves to it",
    STALLING: "the rejected response scores above the mean, so training moves to it first",
    WRONG: "the mean score of the prompt is not known, so what the error does is not known either",
    ESCAPES: "a mediocre response scores below the mean, so training does not stall at it",
}


@dataclasses.dataclass(frozen=True)
class WorstPrompt:
    """A prompt on which a model's errors do most harm.

    Attributes:
        prompt: its text, as far as the file has it.
        line: of its first row that takes part.
        chosen: score of the better response of the worst pair.
        rejected: score of the worse one.
        mean_reward: V_P, nan where it is not known.
        margin: how far the worse response scores above the better one and V_P, in standard deviations of all scores.
        wrong: pairs of the prompt that are ranked wrong.
        pairs: pairs of the prompt.
    """

    prompt: str
    line: int
    chosen: float
    rejected: float
    mean_reward: float
    margin: float
    wrong: int
    pairs: int


@dataclasses.dataclass(frozen=True)
class Takeover:
    """A response that training on a model's scores would move to.

    Attributes:
        prompt: its prompt's text, as far as the file has it.
        line: its place in the file.
        score: of the model.
        true_reward: nan where it is not known.
        before: probability at the start.
        after: probability when training stops.
    """

    prompt: str
    line: int
    score: float
    true_reward: float
    before: float
    after: float


@dataclasses.dataclass
class Judgement:
    """What one file says of one model.

    Attributes:
        kind: of the file.
        metrics: name -> `Interval`.
        left_out: name -> a sentence on what is missing.
        errors: kind -> number of items, and "right"; of `ESCAPES`, the number of responses.
        worst: the worst prompts, the worst first.
        notes: further sentences.
        takeovers: where a forecast was asked for: the responses that gain most probability.
    """

    kind: str
    metrics: dict[str, intervals.Interval]
    left_out: dict[str, str]
    errors: dict[str, int] = dataclasses.field(default_factory=dict)
    worst: list[WorstPrompt] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    takeovers: list[Takeover] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How intervals are made and how many prompts are shown.

    Attributes:
        confidence: the part of the resamples that an interval holds.
        resamples: how many.
        seed: of the resamples.
        worst: prompts to name.
        forecast: KL at which a forecast stops, in nats; None for no forecast.
    """

    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    worst: int = 5
    forecast: float | None = None
