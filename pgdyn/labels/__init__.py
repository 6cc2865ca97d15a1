"""From labels to a reward: preferences, fits, cleaning, and other ways in which training data become what is climbed.

| module | what it holds |
|---|---|
| `preferences` | pairs labelled by a truth, with noise; their infinite limit; kinds of bad pairs |
| `fit` | Bradley-Terry rewards, tabular and linear, and whether they exist |
| `clean` | which labels to doubt, and what to do with them |
| `hierarchy` | preferences from factors in order of importance |
| `judges` | a judge that is noisy, averaged |
| `context` | rewards and augmentations over similar contexts |
| `sft` | a supervised step, and what it does elsewhere |
| `logs` | what logs of users say about models that users chose themselves |

All of it is NumPy on host arrays: nothing is compiled.
"""

from pgdyn.labels.clean import clean, contrastive_map, meta_step, preference_strength
from pgdyn.labels.context import convex_augmentation, fuse, fusion_weights
from pgdyn.labels.fit import Fit, fit, population_logits
from pgdyn.labels.hierarchy import hierarchical_preferences
from pgdyn.labels.judges import NoisyJudge
from pgdyn.labels.preferences import (
    KINDS,
    Preferences,
    all_pairs,
    noisy_accuracy,
    preferences,
    relabel,
    taxonomy,
    win_probability,
)
from pgdyn.labels.sft import sft_change, sft_step

__all__ = [
    "KINDS",
    "Fit",
    "NoisyJudge",
    "Preferences",
    "all_pairs",
    "clean",
    "contrastive_map",
    "convex_augmentation",
    "fit",
    "fuse",
    "fusion_weights",
    "hierarchical_preferences",
    "meta_step",
    "noisy_accuracy",
    "population_logits",
    "preference_strength",
    "preferences",
    "relabel",
    "sft_change",
    "sft_step",
    "taxonomy",
    "win_probability",
]
