"""What a run leaves behind: results.json with every sample, results.md as a table, results.svg as a chart."""

import html
import json
import time

import machine

BAR_X, BAR_WIDTH, BAR_HEIGHT, STEP, TOP = 430, 420, 16, 26, 50
WIDEST = 2.0  # of the bound, in the chart


def number(x):
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}" if abs(x) < 0.1 else f"{x:.2f}"


def sign(r):
    return "≥" if r["at_least"] else "≤"


def verdict(r):
    return "pass" if r["passed"] else "FAIL"


def results_of(rows):
    return [r for row in rows for r in row.results]


def markdown(rows):
    about = machine.fingerprint()
    lines = [f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, load average {about['load'][0]:.1f}, "
             f"{'2 MB' if about['huge_pages'] else 'ordinary'} pages, {time.strftime('%F %T%z')}", "",
             "| row | what | measured | tenths | bound | |", "|---|---|---:|---:|---:|---|"]
    lines += [f"| `{r['row']}` | {r['what']} | {number(r['value'])} | {number(r['low'])} … {number(r['high'])} | "
              f"{sign(r)} {number(r['bound'])} | {verdict(r)} |" for r in results_of(rows)]
    lines.append("")
    lines += [f"- `{row.name}`: {note}" for row in rows for note in row.notes]
    return "\n".join(lines) + "\n"


def length(r, value):
    """Of a bar: the value as a multiple of its bound."""
    share = value / r["bound"] if r["bound"] else float(value > 0) * WIDEST
    return min(share, WIDEST) / WIDEST * BAR_WIDTH


def bar(r, y):
    color = "#3a7d44" if r["passed"] else "#b3261e"
    low, high, middle = length(r, r["low"]), length(r, r["high"]), y + BAR_HEIGHT / 2
    label = html.escape(f"{r['row']}: {r['what']}")
    return (f'<text x="{BAR_X - 8}" y="{y + 12}" text-anchor="end">{label}</text>'
            f'<rect x="{BAR_X}" y="{y}" width="{length(r, r["value"]):.1f}" height="{BAR_HEIGHT}" fill="{color}"/>'
            f'<path d="M{BAR_X + low:.1f} {middle}H{BAR_X + high:.1f}" stroke="#222" stroke-width="2"/>'
            f'<text x="{BAR_X + BAR_WIDTH + 8}" y="{y + 12}">{number(r["value"])} ({sign(r)} {number(r["bound"])}, '
            f'{verdict(r)})</text>')


def chart(rows):
    """One bar per figure, as a multiple of its bound (the line); the thin line is from the 10th to the 90th
    percentile."""
    results = results_of(rows)
    height, line = TOP + STEP * len(results) + 10, BAR_X + BAR_WIDTH / WIDEST
    bars = "\n".join(bar(r, TOP + i * STEP) for i, r in enumerate(results))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="1060" height="{height}" font-family="sans-serif" '
            f'font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
            f'<text x="12" y="22" font-size="15">evswitch: measured, as a multiple of the bound '
            f'({time.strftime("%F")})</text>\n{bars}\n'
            f'<path d="M{line} {TOP - 8}V{height - 4}" stroke="#222" stroke-dasharray="3 3"/>\n</svg>\n')


def save(rows):
    directory = machine.BUILD / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine.fingerprint(), "time": time.strftime("%FT%T%z"),
             "rows": [{"row": r.name, "results": r.results, "notes": r.notes, "samples": r.samples} for r in rows]}
    (directory / "results.json").write_text(json.dumps(about, indent=1) + "\n")
    (directory / "results.md").write_text(markdown(rows))
    (directory / "results.svg").write_text(chart(rows))
    print(f"results: {directory}/results.json, .md, .svg")
