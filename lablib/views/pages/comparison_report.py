"""A comparison as a folder: table, figure, traces, and one page that shows them.

index.html          opens without a network, on a phone, in the dark
table.csv, .md      the table: whole numbers for programs, rounded ones for people
figure.png, .svg
traces/             one a run; each opens in ui.perfetto.dev
"""

from __future__ import annotations

import base64
import os
import re
from html import escape
from pathlib import Path
from typing import Any

from lablib.errors import LabError
from lablib.files import write_completely
from lablib.views.pages import comparison_table


def check_folder(folder: str | os.PathLike) -> Path:
    """Create the folder if it is missing, and check that a file can be written in it.

    Call this before the work whose results go there. Raises LabError if the folder cannot be used.
    """
    folder = Path(folder)
    try:
        (folder / "traces").mkdir(parents=True, exist_ok=True)
        probe = write_completely(folder / "traces" / ".probe", "x")
        probe.unlink()
    except (OSError, LabError) as error:
        seen = error.saw if isinstance(error, LabError) else f"{folder}: {error.strerror or error}"
        raise LabError(
            "The results cannot be written to this folder.",
            saw=seen,
            do="choose a folder that you may write to, on a disk that is not full",
        ) from error
    return folder


def write(comparison: Any, folder: str | os.PathLike) -> Path:
    """Write a comparison's files and return the path of its page.

    comparison  an object with .table (DataFrame), .plot() (a Picture), .runs ((strategy,
                framework, ranks) -> run with .trace), .conditions (name -> words)

    Each file is written completely or not at all. Raises LabError if one cannot be written.
    """
    folder = check_folder(folder)
    picture = comparison.plot()
    svg = picture.svg()
    write_completely(folder / "table.csv", comparison.table.to_csv(index=False))
    write_completely(folder / "table.md", comparison_table.markdown(comparison.table))
    write_completely(folder / "figure.png", picture.png())
    write_completely(folder / "figure.svg", svg)
    traces = _write_traces(comparison.runs, folder)
    page = _page(comparison, picture.alt, svg, traces)
    return write_completely(folder / "index.html", page)


def _write_traces(runs, folder):
    """Write a file for each run that has events; yield (the run in words, its trace, the file)."""
    written = []
    for (strategy, framework, ranks), run in runs.items():
        trace = run.trace
        if not len(trace):
            continue
        name = re.sub(r"[^\w.-]", "_", f"{strategy}-{framework}-{ranks}", flags=re.ASCII)
        trace.export(folder / "traces" / f"{name}.json.gz")
        words = f"{strategy} in {framework} on {ranks} rank{'' if ranks == 1 else 's'}"
        written.append((words, trace, f"traces/{name}.json.gz"))
    return written


def _page(comparison, alt, svg, traces):
    clocks = " and ".join(sorted(set(comparison.table["clock"])))
    image = base64.b64encode(svg.encode()).decode()
    return _PAGE.format(
        title=escape(f"Strategies compared ({clocks})"),
        style=_STYLE,
        figure=f'<img src="data:image/svg+xml;base64,{image}" alt="{escape(alt)}">',
        table=comparison_table.page(comparison.table, comparison.conditions.get("caution", "")),
        conditions="".join(
            f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
            for name, value in comparison.conditions.items()
        ),
        traces="".join(
            f'<li><a href="{escape(link)}" download>{escape(words)}</a> '
            f"({len(trace)} events, {escape(trace.clock)})</li>"
            for words, trace, link in traces
        )
        or "<li>No run recorded an event.</li>",
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<h2>Figure</h2>
<div class="wide" tabindex="0">{figure}</div>
<h2>Table</h2>
<div class="wide" tabindex="0">{table}</div>
<p>Also as <a href="table.csv">table.csv</a> (exact) and <a href="table.md">table.md</a>.
The figure: <a href="figure.png">figure.png</a>, <a href="figure.svg">figure.svg</a>.</p>
<h2>Conditions</h2>
<dl>{conditions}</dl>
<h2>Traces</h2>
<ul>{traces}</ul>
<p>A trace shows what each rank did and when. To look at it, open
<a href="https://ui.perfetto.dev">ui.perfetto.dev</a> and drop a trace file on the page, or open
<code>chrome://tracing</code> in Chrome and load the file. Both can read the compressed file, and
the trace stays on your computer.</p>
<h2>What the columns mean</h2>
<dl>
<dt>clock</dt><dd>measured: the times were measured on this computer. modelled: the times were
calculated for the hardware that the page names</dd>
<dt>samples_per_s</dt><dd>samples per second of all ranks together, without the first step</dd>
<dt>speedup, efficiency</dt><dd>speedup: the throughput divided by that of one process. efficiency:
the speedup divided by the number of ranks. Measured runs are repeated, and the repeats take turns.
The table shows the median with the smallest and the largest ratio. A range that includes 1 shows
no difference</dd>
<dt>comm_share</dt><dd>the share of a step in which a rank stood still for a message. Inside a
TensorFlow graph, waiting cannot be observed. There it is the share in which a message was under
way, so the true share is at most that large</dd>
<dt>wire_bytes_per_rank</dt><dd>the bytes that the link of the busiest rank carries in one step, if
every collective uses the algorithm that sends the fewest bytes (a ring all-reduce of n bytes on R
ranks: 2 (R - 1) / R n). Compare strategies by this number</dd>
<dt>payload_bytes_per_step</dt><dd>the bytes that all ranks together pass to messages in one step.
Different collectives need different amounts of traffic for the same payload</dd>
<dt>peak_bytes_per_rank</dt><dd>the peak memory of the rank that uses the most;
memory_counted says what was counted</dd>
<dt>memory_counted</dt><dd>process: the memory that only this rank uses, without memory that ranks
share, such as the framework's code. tensors: the bytes of the tensors that are alive at the same
time. graph: the same, but inside a TensorFlow graph it is calculated from the shapes and the order
of the operations</dd>
</dl>
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; background: #fff; color: #1a1a1a; }
main { max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
a { color: #0b5394; }
.wide { overflow-x: auto; }
.wide img { display: block; width: 100%; min-width: 42rem; max-width: 60rem; height: auto;
  background: #fff; border-radius: 6px; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .4rem; border-bottom: 1px solid #bbb; text-align: left;
  white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { display: block; } dd { margin: 0 0 .6rem 1rem; } }
@media (prefers-color-scheme: dark) {
  body { background: #16181b; color: #e6e6e6; } a { color: #8ab8ff; }
  th, td { border-color: #555; }
}
"""
