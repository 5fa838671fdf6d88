"""Picture of what the noise model of the first level left: autocorrelation of the residuals by tissue and lag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurobraid.reports import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TISSUES = {
    "GM": ("grey matter", style.BLUE),
    "WM": ("white matter", style.VERMILION),
    "CSF": ("CSF", style.GREEN),
}
#: Autocorrelation of whitened residuals, off what white noise would show, that asks for a higher order of the noise model.
LARGE = 0.1


def whiteness(table: pd.DataFrame, *, label: str) -> Figure:
    """Autocorrelation of the residuals before and after whitening.

    Parameters
    ----------
    table : pandas.DataFrame
        ``…_desc-whiteness_table.tsv``: tissue, lag (volumes), autocorrelation_ols, autocorrelation_whitened,
        expected_if_white.
    label : str
        Noise model, for the heading.

    Returns
    -------
    matplotlib.figure.Figure
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 2.5, layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        columns = ("autocorrelation_ols", "autocorrelation_whitened")
        heads = ("Residuals of ordinary least squares", f"After whitening, {label}")
        for axes, column, head in zip(panels, columns, heads, strict=True):
            for tissue, (name, colour) in TISSUES.items():
                part = table[table["tissue"] == tissue]
                axes.plot(
                    part["lag"], part[column], "o-", color=colour, label=name, linewidth=1.4, markersize=4
                )
            axes.axhline(0, color=style.SOFT, linewidth=0.8)
            part = table[table["tissue"] == "GM"]
            axes.fill_between(
                part["lag"], part["expected_if_white"] - LARGE, part["expected_if_white"] + LARGE, color=style.LINE,
                alpha=0.4, linewidth=0, label="white noise under this design, ± 0.1",
            )  # fmt: skip
            axes.set_title(head)
            axes.set_xlabel("Lag (volumes)")
            axes.set_xticks(sorted(table["lag"].unique()))
            axes.grid(axis="y")
        panels[0].set_ylabel("Autocorrelation")
        panels[1].legend(frameon=False)
        return figure


def largest(table: pd.DataFrame) -> tuple[float, int, str]:
    """Whitened autocorrelation furthest from that of white noise in grey or white matter: difference, lag, tissue."""
    part = table[table["tissue"].isin(["GM", "WM"])].dropna(subset=["autocorrelation_whitened"])
    if not len(part):
        return 0.0, 0, "GM"
    gap = part["autocorrelation_whitened"] - part["expected_if_white"]
    row = part.loc[gap.abs().idxmax()]
    return float(gap[row.name]), int(row["lag"]), str(row["tissue"])
