"""Which sentences about films praise them? The classifier of docs/finetuning.md, and the others beside it, once more.

    python docs/sentiment.py sentence_polarity.zip --out runs/sentiment

Enter: the archive of 5,331 + 5,331 sentences (Pang & Lee 2005), as nltk_data packs it. Leave: in --out a run of
each kind (one that was stopped goes on, one that is finished is not made again); docs/sentiment.json, from which the
tables of docs/finetuning.md are, and two pictures beside it. About 25 minutes on one core.
"""

import argparse
import csv
import io
import json
import zipfile
from pathlib import Path

from nanogpt_np import files, ops
from nanogpt_np.finetuning import ClassifyOptions, pictures, results
from nanogpt_np.finetuning import run as runs

HERE = Path(__file__).parent
PAGE = HERE / "finetuning.md"
LABELS = {"negative": "neg", "positive": "pos"}
SIZES = (500, 1000, 2000, 4000)
MADE = "stories, 5,853,696 parameters; sentence_polarity"
RUNS = {
    "whole": {"lr": 5e-4},
    "scratch": {"lr": 1e-3, "scratch": True},
    **{f"whole-{n}": {"lr": 5e-4, "most": n} for n in SIZES},
}


def write_csv(archive, path):
    """The archive's sentences as a CSV file, the negative ones first."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["text", "label"])
    with zipfile.ZipFile(archive) as packed:
        for label, end in LABELS.items():
            lines = packed.read(f"sentence_polarity/rt-polarity.{end}").decode("utf-8").split("\n")
            rows.writerows([line.strip(), label] for line in lines if line.strip())
    files.write_text(path, text.getvalue())


def measured(out, data, how):
    """What one run found on the test, as results.json has it; the run is begun or gone on with where it must be."""
    if not (out / results.JSON).exists():
        is_begun = (out / "training.json").exists()
        options = runs.resume_options(out, [data]) if is_begun else ClassifyOptions([data], str(out), epochs=2, **how)
        if not runs.make_classifier(options, ops, resume=is_begun).is_finished:
            raise SystemExit(f"{out}: stopped; the same command goes on")
    return json.loads((out / results.JSON).read_text("utf-8"))["test"]


def draw(found):
    """Both pictures, from what docs/sentiment.json holds."""
    whole = {name: results.from_dict(one) for name, one in found["whole"].items()}
    figure = pictures.draw_measured(whole["this classifier"], tuple(LABELS), MADE)
    figure.savefig(HERE / "sentiment.png")
    by_size = {n: found[f"whole-{n}"] for n in SIZES if f"whole-{n}" in found} | {found["n_train"]: found["whole"]}
    names = {"fine-tuned": "this classifier", "bag of words": "bag of words", "frozen features": "frozen features"}
    curves = [pictures.Curve(shown, list(by_size), [results.from_dict(one[name]) for one in by_size.values()])
              for shown, name in names.items()]  # fmt: skip
    if "scratch" in found:
        scratch = results.from_dict(found["scratch"]["this classifier"])
        curves.append(pictures.Curve("from scratch", [found["n_train"]], [scratch]))
    pictures.draw_curves(curves, MADE).savefig(HERE / "sentiment_curve.png")


SHOWN = {  # a row of the table -> the run, and what it measured
    "*stories*, fine-tuned as a whole": ("whole", "this classifier"),
    "the same shape from scratch": ("scratch", "this classifier"),
    "*stories*, frozen: logistic regression on its last vector": ("whole", "frozen features"),
    "logistic regression on the words": ("whole", "bag of words"),
    "the commonest label": ("whole", "majority"),
}


def table(found):
    """The table of docs/finetuning.md, from what docs/sentiment.json holds."""
    lines = ["| | accuracy | 95 % interval | loss, nats | calibration error |", "|---|---|---|---|---|"]
    for shown, (run, name) in SHOWN.items():
        if run not in found:
            continue
        one = results.from_dict(found[run][name])
        lines.append(f"| {shown} | {one.accuracy:.3f} | {one.low:.3f} to {one.high:.3f} | {one.loss:.3f} | "
                     f"{one.calibration_error:.3f} |")  # fmt: skip
    lines += ["", f"Learned from {found['n_train']:,} texts, measured on {one.n:,}.", ""]
    pictures_of = "confusion matrix and calibration", "accuracy by the number of texts"
    return "\n".join([*lines, f"![{pictures_of[0]}](sentiment.png)", "", f"![{pictures_of[1]}](sentiment_curve.png)"])


def with_table(page, found):
    """The text of docs/finetuning.md with the table in its place."""
    before, start, rest = page.partition("<!-- by docs/sentiment.py -->\n")
    return before + start + table(found) + "\n" + rest[rest.index("<!-- end -->") :]


def main():
    """All runs, then the tables and pictures."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("archive", help="sentence_polarity.zip")
    p.add_argument("--out", default="runs/sentiment", help="where the runs go (default runs/sentiment)")
    p.add_argument("--only", nargs="+", choices=tuple(RUNS), default=list(RUNS), metavar="RUN",
                   help=f"some of {', '.join(RUNS)}; whole must be among them (default: all)")
    args = p.parse_args()
    out = Path(args.out)
    files.make_folder(out)
    write_csv(args.archive, out / "polarity.csv")
    data = str(out / "polarity.csv")
    found = {name: measured(out / name, data, how) for name, how in RUNS.items() if name in args.only}
    learned = runs.examples.split(runs.examples.read([data]))["train"]
    found["n_train"] = len(learned.texts)
    files.write_json(HERE / "sentiment.json", found)
    draw(found)
    files.write_text(PAGE, with_table(PAGE.read_text("utf-8"), found))
    for name in args.only:
        lines = results.table({shown: results.from_dict(one) for shown, one in found[name].items()})
        print(f"{name}:", *lines, sep="\n  ")


if __name__ == "__main__":
    main()
