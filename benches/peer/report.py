"""The rows of a comparison as a line, as docs/performance.json and as docs/performance.md."""

import json

HEAD = """\
# Performance

What the engines cost beside the Python programs that run the same models. Ratios, since seconds are of one
machine only: ours over theirs, the median of {repeats} pairs of neighbouring runs. `make bench-peer` measures
them anew and writes this page and [performance.json](performance.json).

{machine}; {threads} thread(s) inside an operator, on both sides. *Others* is the share of the cores that other programs used
when the part began: they take caches and memory from both sides, but not alike. Measured on {dates} with {versions}.

Weights are random, of the real models' sizes: time does not depend on their values. Both sides have the same
weights, inputs and numbers of steps; sentences are kept from ending by themselves. CPU-s is the processor
time of all threads.

"""

NOTES = """
- *Whole messages*: `translator bench`, from the accepted request to the last event, with a new voice. The
  Python cascade is given a head start: it translates nothing, encodes no MP3 and keeps nothing.
- *Whisper* hears a part of its window where a recording is short ([why](../src/stages/transcribe/window.rs)).
  Whether words are lost by that has to be measured with trained weights; `transcribe.full_window` turns it off.
- *Ours* as the peer: one workload of ours over another, in the same process.
- *16 messages at once* is a ratio of times, not of processor time: programs that take a part of the cores
  lower it, so it is left out where there are others. Of 16 messages' work two fifths decode speech, seven rows to a step, a third are
  the vocoder's, a fifth hears the recordings. One message alone decodes one row in each step.
- *Marian beside CTranslate2*: three fifths of the decoder's time are products of 8-bit integers, for which both have the same
  instructions; what is around them runs in [kernels of our own](adr/0027-kernels-for-rows.md).
- *OpenVoice*: two thirds of our time are its convolutions. The reference takes 17 or 34 ms, from one process to the next;
  beside the smaller figure the ratio is 0.4.
- *With the fp32 vocoder* it takes two fifths of the whole. Nine tenths of that are convolutions, at the peak of the processor's vectors:
  ours takes the same time in every process, the reference 1.6 to 2.3 s, from one process to the next. Where there is a vocoder
  in 8 bits (`--int8-vocoder`), that is taken.
- *Seconds on several cores* and *recordings/h* are left out where other programs run, too: threads that wait for each other suffer
  most from them, which would flatter us.
"""


def line(row):
    sign = "≥" if row["at_least"] else "≤"
    mark = "" if row["met"] else "  MISSED"
    return f"{row['case']:<48} {row['figure']:<22} {row['peer']:<26} {row['ratio']:7.3f}  {sign} {row['target']}{mark}"


def write(folder, conditions, rows, parts):
    """Replaces the parts that `rows` hold; others stay if they were measured under the same conditions."""
    path = folder / "performance.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if {key: earlier.get(key) for key in conditions} == conditions:
        anew = {row["part"] for row in rows}
        rows = [row for row in earlier["rows"] if row["part"] not in anew] + rows
    rows = sorted(rows, key=lambda row: parts.index(row["part"]))
    result = {**conditions, "rows": rows}
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "performance.md").write_text(page(result), encoding="utf-8")


def page(result):
    machine, versions, rows = result["machine"], dict(result["versions"]), result["rows"]
    head = HEAD.format(
        repeats=result["repeats"], machine=f"{machine['cores']} cores {machine['architecture']}", threads=result["threads"],
        dates=" and ".join(sorted({row["date"] for row in rows})), versions=", ".join(f"{name} {number}" for name, number in versions.items()),
    )  # fmt: skip
    table = ["| what | beside | figure | ours | theirs | ratio | from, to | wanted | | others |", "|" + " --- |" * 10]
    for row in rows:
        sign = "≥" if row["at_least"] else "≤"
        low, high = row["spread"]
        table.append(
            f"| {row['case']} | {row['peer']} | {row['figure']} | {number(row['ours'])} | {number(row['theirs'])} "
            f"| **{row['ratio']:.2f}** | {low:.2f}, {high:.2f} | {sign} {row['target']} | {'' if row['met'] else 'missed'} | {row['others']:.0%} |"
        )
    return head + "\n".join(table) + "\n" + NOTES


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
