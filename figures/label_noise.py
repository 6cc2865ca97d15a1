"""Accuracy and the true value after training, raw and normalised; noisy benchmarks; cleaning; fusion."""

from __future__ import annotations

import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.label_noise.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH * 1.15, 4.7), layout="constrained")
    axes = figure.subplots(2, 2)
    _paradox(axes[0, 0], dataset)
    _benchmarks(axes[0, 1], dataset)
    _cleaning(axes[1, 0], dataset)
    _fusion(axes[1, 1], dataset)
    panels.letters(list(axes.ravel()))
    return figure


def _paradox(axes: Axes, dataset: xarray.Dataset) -> None:
    mean = dataset.mean("seed")
    for scaling, color in (("raw", palette.VERMILLION), ("normalised", palette.BLUE)):
        kept = mean.isel(step=slice(1, None))  # the untrained model ranks nothing
        axes.plot(
            kept["accuracy"], kept["value"].sel(scaling=scaling), "o-", color=color, markersize=3.2, label=scaling
        )
    for step in (1, 64, 1024):
        at = mean.sel(step=step)
        place = float(at["accuracy"]), float(at["value"].sel(scaling="raw"))
        words, shift = f"{step} step{'s' * (step > 1)}", (4 if step > 1 else 9, -9 if step > 1 else -3)
        axes.annotate(words, place, shift, textcoords="offset points", size=7.5, color=palette.INK)
    axes.set_xlabel("accuracy of the reward model while it is fitted")
    axes.set_ylabel("true gain / best possible")
    axes.set_ylim(0, 1)
    axes.legend(title="rewards", frameon=False, fontsize=8, title_fontsize=8)


def _benchmarks(axes: Axes, dataset: xarray.Dataset) -> None:
    for name, color in (("noisy", palette.ORANGE), ("clean", palette.GREEN)):
        rho = float(dataset["rank_correlation"].sel(benchmark=name))
        axes.plot(
            dataset[f"{name}_accuracy"], dataset["model_value"], ".", markersize=3.5, color=color, alpha=0.8,
            label=f"{name} labels, Spearman {rho:.2f}",
        )  # fmt: skip
    axes.set_xlabel("accuracy on a benchmark of few pairs")
    axes.set_ylabel("true gain / best possible")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _cleaning(axes: Axes, dataset: xarray.Dataset) -> None:
    ways = [str(way) for way in dataset["way"].values]
    for i, way in enumerate(ways):
        one = dataset["test_accuracy"].sel(way=way).values
        axes.plot([i] * len(one), one, ".", color=palette.PALE, markersize=3)
        axes.plot([i - 0.22, i + 0.22], [one.mean()] * 2, color=palette.BLUE, linewidth=1.8)
    axes.set_xticks(range(len(ways)), [way.replace(" ", "\n", 1) for way in ways], size=8)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("accuracy on clean pairs")
    axes.set_title(f"{dataset.attrs['flip']:.0%} of the labels flipped", size=9)


def _fusion(axes: Axes, dataset: xarray.Dataset) -> None:
    mean = dataset["fused_value"].mean("seed")
    error = dataset["fused_value"].std("seed") / dataset.sizes["seed"] ** 0.5
    axes.errorbar(dataset["width"], mean, error, fmt="o-", color=palette.BLUE, markersize=3.2, label="true gain")
    axes.semilogx(
        dataset["width"], dataset["noise_left"], color=palette.GREY, linestyle="--", label="noise variance left"
    )
    axes.set_xlabel("width of the kernel over contexts (radians)")
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False, fontsize=8)
