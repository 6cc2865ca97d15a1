"""The primary return with and without an auxiliary reward, and how much of it is trusted."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

_COLORS = {"good": palette.BLUE, "bad": palette.VERMILLION, "noisy": palette.GREEN}
_DOTS = {"good": "o", "bad": "s", "noisy": "^"}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.auxiliary_rewards.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    level, trust = figure.subplots(1, 2, sharey=True)
    kl, phi = dataset["penalty"].values, dataset["trust"].values
    (alone,) = level.plot(kl, dataset["primary"].sel(reward="alone", auxiliary="good"), color=palette.BLACK)
    named = [(alone, "alone = shaping")]
    crossed, scans = [], []
    scanned = float(kl[dataset.attrs["scanned"]])
    for name in dataset["auxiliary"].values:
        color = _COLORS[name]
        one = dataset["primary"].sel(auxiliary=name)
        crossed += level.plot(kl, one.sel(reward="sum"), color=color, linestyle=(0, (4, 1.6)), linewidth=1.3)
        crossed += level.plot(kl, one.sel(reward="bilevel"), color=color, marker=_DOTS[name], markersize=4)
        scans.append((trust.plot(phi, dataset["scan"].sel(auxiliary=name), color=color)[0], f"{name} auxiliary"))
        at = float(dataset["learned"].sel(auxiliary=name).sel(penalty=scanned))
        reached = float(one.sel(reward="bilevel", penalty=scanned))
        trust.plot([at], [reached], color=color, marker=_DOTS[name], markersize=6, markeredgecolor="white")
    level.set_xscale("log")
    level.set_xlim(kl[0], kl[-1])
    ticks = [tick for tick in (0.1, 0.2, 0.4, 0.8) if kl[0] <= tick <= kl[-1]]
    level.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    level.minorticks_off()
    level.set_ylim(-0.03, 1.05)
    level.set_yticks([0, 0.5, 1])
    level.set_xlabel("weight of the KL penalty")
    level.set_ylabel("mean primary return")
    trust.axvline(0, color=palette.GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    trust.axvline(1, color=palette.GREY, linewidth=0.6, linestyle=(0, (4, 2)), zorder=0)
    trust.set_xlim(phi[0], phi[-1])
    trust.set_xlabel(r"weight $\varphi$ of the auxiliary reward")
    trust.set_title(f"KL penalty {scanned:.2g}")
    panels.letters([level, trust])
    panels.footnote(figure, r"(a) dashed: the sum, $\varphi = 1$;  marks: learned $\varphi$, as in (b)")
    renderer = labels.settle(figure)
    labels.beside(level, renderer, named, avoid=crossed)
    labels.beside(trust, renderer, scans)
    return figure
