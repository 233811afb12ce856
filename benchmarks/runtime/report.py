"""From what a run measured to docs/benchmarks: the page, the figures of every round as CSV, a plot."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.runtime.collection import PLAN as COLLECTION
from benchmarks.runtime.environments import ROOT
from benchmarks.runtime.goals import goals
from benchmarks.runtime.lineup import OURS, PEERS
from benchmarks.runtime.measure import ImageResult, Result
from benchmarks.runtime.turns import Turn

if TYPE_CHECKING:
    from benchmarks.runtime.run import Run

FOLDER = ROOT / "docs" / "benchmarks"
PAGE, FIGURES, PLOT = (FOLDER / f"runtime.{suffix}" for suffix in ("md", "csv", "svg"))
COLUMNS = (
    "model", "server", "version", "clients", "round", "requests_per_second", "p50_ms", "p99_ms", "cpu_us", "failed",
    "pss_mib", "rss_mib", "ready_s",
)  # fmt: skip
TITLES = {
    "pipeline": "scikit-learn pipeline (StandardScaler + LogisticRegression, 4 features), 1 row a request",
    "forest": "Forest of 100 trees, 100 features, 1 row a request",
    "faq": "FAQ-like: two texts through TF-IDF into gradient-boosted trees, 1 row a request",
    "resnet50": "ResNet-50 on the CPU, a JPEG a request",
    "resnet152": "ResNet-152 on the CPU, a JPEG a request",
}


def write(run: Run, keep: bool) -> None:
    """Print the page; with `keep` also write it with its CSV and plot."""
    page = "\n".join(_page(run)) + "\n"
    print(page)
    if not keep:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page)
    _write_csv(run, FIGURES)
    results = [result for result in run.results if result.model == "pipeline" and not result.problem]
    if results:
        _plot(results, PLOT)


def _page(run: Run) -> list[str]:
    lines = [
        "# The model server beside its peers",
        "",
        f"Written by `{run.command}` ({run.minutes:.0f} minutes); `make bench-runtime` measures anew.",
        "The same model files, one run, one machine:",
        f"{_machine()}; load before the run {run.load_before:.1f}.",
        "The server has core 0 for itself and all its processes, the clients have core 1.",
        "Rounds of all servers alternate; every figure is the median of the rounds. Before and after each measurement",
        "different requests from 16 clients are compared with what the library itself answers; a server with one wrong",
        "answer or one failed request is left out. Where two are compared in turn, both run, and the load goes to one",
        "after the other for a second or two. Only the ratios mean something elsewhere.",
        "",
    ]
    lines += _goals(run)
    for model in dict.fromkeys(result.model for result in run.results):
        lines += _table(TITLES[model], [result for result in run.results if result.model == model])
        if model == "pipeline":
            lines += [f"![Requests a second, pipeline]({PLOT.name})", "", *_rivals(run)]
    for image in run.images:
        lines += _image_table(image)
    lines += _binary(run) + _collection(run)
    return lines + _servers(run)


def _goals(run: Run) -> list[str]:
    rows = goals(run)
    if not rows:
        return []
    lines = ["## What was to be reached", "", "| | measured | goal | |", "|---|---|---|---|"]
    return [*lines, *(f"| {goal.what} | {goal.measured} | {goal.wanted} | {goal.verdict} |" for goal in rows), ""]


def _table(title: str, results: Sequence[Result]) -> list[str]:
    good = [result for result in results if not result.problem]
    if not good:
        return []
    few, many = min(good[0].figures), max(good[0].figures)
    ours = next((result for result in good if result.peer.name == OURS), None)
    lines = [
        f"## {title}",
        "",
        f"| server | {few} client, req/s | p50 ms | p99 ms | {many} clients | p50 ms | p99 ms | ours is, 1 / 32 |"
        " CPU µs/req | MiB (PSS) | ready s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for result in sorted(good, key=lambda result: -result.median(many, "per_second")):
        factor = "" if ours is None or result is ours else _factors(ours, result, few, many)
        cells = [f"{result.median(few, 'per_second'):,.0f}", *_latencies(result, few)]
        cells += [f"{result.median(many, 'per_second'):,.0f}", *_latencies(result, many), factor]
        cells += [f"{median(result.cpu[many]):,.0f}", f"{median([m.proportional for m in result.memory]):.0f}"]
        lines.append(f"| {_name(result)} | {' | '.join(cells)} | {median(result.ready):.2f} |")
    return [*lines, *_left_out(results), ""]


def _image_table(image: ImageResult) -> list[str]:
    good = [result for result in image.results if not result.problem]
    bare = median([one["perSecond"] for one in image.bare])
    alone = median([one["p50Milliseconds"] for one in image.bare])
    lines = [
        f"## {TITLES[image.model]}",
        "",
        "| server | clients | images/s | of the bare loop | p50 ms, 1 client | MiB (PSS) | ready s |",
        "|---|--:|--:|--:|--:|--:|--:|",
        f"| bare loop of decode + model, batches of {image.bare[0]['batchSize']:.0f} | | {bare:.2f} | 100 % |"
        f" {alone:.0f} | | |",
    ]
    for result in good:
        clients = max(result.figures)
        lines.append(
            f"| {_name(result)} | {clients} | {result.median(clients, 'per_second'):.2f} |"
            f" {image.share(result, clients):.1%} | {result.median(1, 'p50'):.0f} |"
            f" {median([m.proportional for m in result.memory]):.0f} | {median(result.ready):.2f} |"
        )
    return [*lines, *_left_out(image.results), ""]


def _binary(run: Run) -> list[str]:
    if not run.binary:
        return []
    lines = [
        "## Open Inference Protocol, binary: 1,000 rows of 100 FP32 in a request",
        "",
        "| model | requests/s | bare `predict`/s | share |",
        "|---|--:|--:|--:|",
    ]
    for result in run.binary:
        served, bare = median(result.served), median(result.bare)
        lines.append(f"| {result.model} | {served:,.1f} | {bare:,.1f} | {result.share:.1%} |")
    return [*lines, ""]


def _rivals(run: Run) -> list[str]:
    if not run.rivals:
        return []
    lines = [
        "## The same in turn with the fastest",
        "",
        "Both servers run, and the load goes to one after the other; the ratio is the median of all turns'.",
        "",
        "| beside | clients | ours, req/s | p50 ms | p99 ms | the other, req/s | p50 ms | p99 ms | ours is |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in run.rivals:
        ours, other = (" | ".join(_of_turns(side)) for side in (one.turns.ours, one.turns.other))
        lines.append(f"| {one.peer.title} | {one.clients} | {ours} | {other} | {one.turns.times:.1f} times |")
    return [*lines, ""]


def _of_turns(turns: Sequence[Turn]) -> list[str]:
    rate, p50, p99 = (median([getattr(one.figures, what) for one in turns]) for what in ("per_second", "p50", "p99"))
    return [f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}"]


def _collection(run: Run) -> list[str]:
    turns = run.collection
    if turns is None:
        return []
    lines = [
        f"## Data collection: every request of the pipeline written to a file, {COLLECTION.clients} clients",
        "",
        f"In turn, {COLLECTION.starts} servers of each kind.",
        "",
        "| | requests/s | p50 ms | p99 ms | CPU µs/req | share |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, side, share in (
        ("without", turns.other, "100 %"),
        ("100 % of the requests", turns.ours, f"{turns.times:.1%}"),
    ):
        lines.append(f"| {name} | {' | '.join(_of_turns(side))} | {median([one.cpu for one in side]):.1f} | {share} |")
    return [*lines, ""]


def _servers(run: Run) -> list[str]:
    measured = {result.peer.name for result in run.results}
    measured |= {result.peer.name for image in run.images for result in image.results}
    lines = ["## Versions and settings", "", "| server | version | settings |", "|---|---|---|"]
    lines += [f"| {peer.title} | {peer.version} | {peer.settings} |" for peer in PEERS if peer.name in measured]
    lines += [f"| {name} | not measured | {why} |" for name, why in run.missing.items()]
    return [*lines, "", f"All rounds: [{FIGURES.name}]({FIGURES.name})."]


def _factors(ours: Result, other: Result, few: int, many: int) -> str:
    one, all_ = (ours.median(n, "per_second") / other.median(n, "per_second") for n in (few, many))
    return f"{one:.1f} / {all_:.1f} times"


def _latencies(result: Result, clients: int) -> list[str]:
    return [f"{result.median(clients, what):.2f}" for what in ("p50", "p99")]


def _left_out(results: Sequence[Result]) -> list[str]:
    return [line for result in results if result.problem for line in ("", f"{result.peer.title}: {result.problem}")]


def _name(result: Result) -> str:
    if result.peer.name == OURS:
        return f"**{result.peer.title}**"
    return f"*{result.peer.title}*" if result.peer.yardstick else result.peer.title


def _machine() -> str:
    name = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{name}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def _write_csv(run: Run, file: Path) -> None:
    with file.open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(COLUMNS)
        for result in run.results + [result for image in run.images for result in image.results]:
            for clients, rounds in result.figures.items():
                for number, figures in enumerate(rounds):
                    memory = result.memory[number]
                    table.writerow([
                        result.model, result.peer.name, result.peer.version, clients, number + 1,
                        round(figures.per_second, 2), round(figures.p50, 3), round(figures.p99, 3),
                        round(result.cpu[clients][number], 1), figures.failed, round(memory.proportional, 1),
                        round(memory.resident, 1), round(result.ready[number], 3),
                    ])  # fmt: skip
        for image in run.images:
            for number, one in enumerate(image.bare):
                row = [image.model, "bare loop", "", 0, number + 1, round(one["perSecond"], 3)]
                table.writerow([*row, round(one["p50Milliseconds"], 1), "", "", 0, "", "", ""])
        table.writerows(_turn_rows(run))
        for binary in run.binary:
            for side, rates in (("ours, V2 binary", binary.served), ("bare predict", binary.bare)):
                for number, rate in enumerate(rates):
                    table.writerow([binary.model, side, "", 0, number + 1, round(rate, 2), "", "", "", 0, "", "", ""])


def _turn_rows(run: Run) -> list[list[object]]:
    sides: list[tuple[str, str, int, Sequence[Turn]]] = []
    for one in run.rivals:
        sides.append((one.model, f"ours, in turn with {one.peer.name}", one.clients, one.turns.ours))
        sides.append((one.model, f"{one.peer.name}, in turn with ours", one.clients, one.turns.other))
    if run.collection is not None:
        sides.append(("pipeline", "ours, collecting", COLLECTION.clients, run.collection.ours))
        sides.append(("pipeline", "ours, not collecting", COLLECTION.clients, run.collection.other))
    return [
        [
            model, side, "", clients, number + 1, round(one.figures.per_second, 2), round(one.figures.p50, 3),
            round(one.figures.p99, 3), round(one.cpu, 1), one.figures.failed, "", "", "",
        ]
        for model, side, clients, turns in sides
        for number, one in enumerate(turns)
    ]  # fmt: skip


def _plot(results: Sequence[Result], file: Path) -> None:
    """Draw requests a second, one bar a server and number of clients, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same figures give the same file.
    mpl.rcParams["svg.hashsalt"] = "runtime"
    from matplotlib import pyplot as plt

    few, many = min(results[0].figures), max(results[0].figures)
    ordered = sorted(results, key=lambda result: result.median(many, "per_second"))
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(ordered) + 1.2), layout="constrained")
    for offset, clients, color in ((0.2, many, "#1f6f8b"), (-0.2, few, "#a7c7d1")):
        values = [result.median(clients, "per_second") for result in ordered]
        bars = axes.barh([index + offset for index in range(len(ordered))], values, 0.38, color=color)
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
        bars.set_label(f"{clients} client{'s' if clients > 1 else ''}")
    axes.set_yticks(range(len(ordered)), [result.peer.title for result in ordered])
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("requests a second, one core (logarithmic)")
    axes.set_title("scikit-learn pipeline, 1 row a request")
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
