#!/usr/bin/env python3
"""Judges the instruction counts of the last run of `--bench instructions`.

    GUNGRAUN_SAVE_SUMMARY=json cargo bench --profile quick-release -p ringway-bench --bench instructions
    bench/check_instructions.py             table; fails on a count above its baseline or a broken ratio
    bench/check_instructions.py --update    writes the counts to bench/instructions.json

A count may grow by TOLERANCE (or SLACK, for small ones) before it fails, and a count that fell by more than that must be
written down. The baseline holds for the profile quick-release and the compiler of rust-toolchain.toml.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUMMARIES = ROOT / "target/gungraun/ringway-bench/instructions"
BASELINE = ROOT / "bench/instructions.json"
TOLERANCE = 0.02
# Instructions that the compiler moves about when something else in the same binary changes.
SLACK = 50
# (count, may be at most this many times, that count): promises that hold whatever the baseline says.
RATIOS = [
    ("route/host_1000", 1.03, "route/host_1"),
    ("route/path_1000", 1.03, "route/path_1"),
    ("worker/services_1000", 1.03, "worker/services_1"),
    ("worker/services_1000_in_turn", 1.03, "worker/services_1"),
]


def measured():
    counts = {}
    for path in sorted(SUMMARIES.glob("**/summary.json")):
        summary = json.loads(path.read_text())
        metrics = summary["profiles"][0]["data"]["total"]["metrics"]
        counts[f"{summary['function_name']}/{summary['id']}"] = metrics["Ir"]["values"]["new"]
    return counts


def judge(name, now, was):
    if name.partition("/")[0].endswith("_httparse"):
        return "for comparison"
    if was is None:
        return "no baseline"
    change = now / was - 1
    if abs(now - was) <= SLACK:
        return f"{change:+.1%}"
    if change > TOLERANCE:
        return f"{change:+.1%}: GREW"
    if change < -TOLERANCE:
        return f"{change:+.1%}: fell, write it down (--update)"
    return f"{change:+.1%}"


def main():
    now = measured()
    if not now:
        sys.exit(f"no summaries below {SUMMARIES.relative_to(ROOT)}: run the bench first")
    if "--update" in sys.argv[1:]:
        BASELINE.write_text(json.dumps(now, indent=2) + "\n")
    was = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    failed = [f"{name}: in the baseline, but not measured" for name in sorted(was.keys() - now.keys())]
    print(f"{'instructions':>12} {'baseline':>10}")
    for name, count in now.items():
        verdict = judge(name, count, was.get(name))
        print(f"{count:12} {was.get(name, '-'):>10}  {name}  {verdict}")
        if verdict == "no baseline" or ":" in verdict:
            failed.append(f"{name}: {verdict}")
    for name, limit, of in RATIOS:
        ratio = now[name] / now[of]
        print(f"{ratio:12.4f} {limit:10}  {name} : {of}")
        if ratio > limit:
            failed.append(f"{name} costs {ratio:.4f} times {of}, the promise is {limit}")
    for line in failed:
        print(f"FAILED {line}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
