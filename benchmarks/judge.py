"""Fit the offline judge of `curation evaluate` on labelled completions, and measure it on models it has not seen.

    python -m benchmarks.judge DATA [--out curation/assets/judge.safetensors]

DATA is a folder with completions of XSTest labelled by people (`xstest/`, CC BY 4.0), completions of three models
with substring labels (`judge/`, Apache-2.0), refusals (`refusals/`, MIT; `safety_tuned/`, CC BY-NC 4.0) and Alpaca
answers (`alpaca_5000/`, `alpaca_en_demo/`, CC BY-NC 4.0). This project's own anchors join them: without
these, the demo model's curt refusals were missed. Only weights of hashed features are kept: no text.

Leave one model out: the judge is fitted again without any completion of that model's family and compared with what
people said of its completions. Partial refusals are left out of fitting and of the error; the card says what becomes
of them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from benchmarks.study.data import read_csv
from curation.evaluate.judge import N_HASHES, SHIPPED, VIEWS, Judge, loops, term_counts, weighted
from curation.sqsd.directions import read_anchors

REFUSAL, ANSWER, PARTIAL = 1, 0, 2
HUMAN = {"1_full_compliance": ANSWER, "2_full_refusal": REFUSAL, "3_partial_refusal": PARTIAL}
FAMILY = {"llama2orig": "llama-2", "mistralguard": "mistral", "llama-2-7b-chat-hf": "llama-2"}
WEIGHT = {"human": 2.0, "substring": 1.0, "written": 1.0, "assumed": 0.1}
"""A person's label counts most, and least what is a refusal or an answer only by where it comes from."""
INVERSE_REGULARISATION = 3.0
SHORT = 20
"""Words that a reply of some two dozen tokens has."""


@dataclass(frozen=True)
class Row:
    """A reply, its label, and who gave it."""

    text: str
    label: int
    family: str
    by: str


def read(data: Path) -> Iterator[Row]:
    for name in ("llama2orig", "mistralguard"):
        for row in read_csv(data / "xstest" / f"xstest_v2_completions_{name}.csv"):
            yield Row(row["completion"], HUMAN[row["final_label"]], FAMILY[name], "human")
    for file in sorted((data / "judge").glob("*.json")):
        model = file.name.split("__")[0]
        for row in json.loads(file.read_text(encoding="utf-8"))["completions"]:
            label = ANSWER if row["is_jailbreak_substring_matching"] else REFUSAL
            yield Row(row["response"], label, FAMILY.get(model, model), "substring")
    for file in sorted((data / "refusals").glob("*.csv")):
        for row in read_csv(file):
            yield Row(row["Safe_Response"], REFUSAL, "", "substring")
    for name, label in (("safety", REFUSAL), ("benign", ANSWER)):
        for sample in read_anchors(name).samples:
            yield Row(sample.answer, label, "", "written")
    assumed = {
        "safety_tuned/safety_only_data_Instructions.json": REFUSAL,
        "alpaca_5000/alpaca_5000.json": ANSWER,
        "alpaca_en_demo/alpaca_en_demo.json": ANSWER,
    }
    for name, label in assumed.items():
        for row in json.loads((data / name).read_text(encoding="utf-8")):
            yield Row(row["output"], label, "", "assumed")


def fit(rows: Sequence[Row]) -> Judge:
    counts = term_counts([row.text for row in rows])
    idf = np.stack([TfidfTransformer().fit(view).idf_ for view in counts]).astype(np.float32)
    model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=3000, class_weight="balanced")
    model.fit(weighted(counts, idf), [r.label for r in rows], sample_weight=[WEIGHT[r.by] for r in rows])
    coefficients = model.coef_.reshape(len(VIEWS), N_HASHES)
    halves = (array.astype(np.float16).astype(np.float32) for array in (idf, coefficients))
    return Judge(*halves, float(model.intercept_[0]), {})


def left_out(rows: Sequence[Row]) -> dict[str, Any]:
    """Errors against people on each model with human labels, its whole family left out of the fit."""
    by_model: dict[str, Any] = {}
    for family in sorted({row.family for row in rows if row.by == "human"}):
        judge = fit([row for row in rows if row.family != family and row.label != PARTIAL])
        seen = [row for row in rows if row.family == family and row.by == "human"]
        whole = [row for row in seen if row.label != PARTIAL]
        partial = judge.refusal_probability([row.text for row in seen if row.label == PARTIAL])
        by_model[family] = compare(judge, whole) | {
            f"first_{SHORT}_words": compare(judge, whole, SHORT),
            "partial_refusals": len(partial),
            "partial_called_refusal": share(partial > 0.5),
        }
    return {"mean": float(np.mean([m["error"] for m in by_model.values()])), "by_model": by_model}


def compare(judge: Judge, rows: Sequence[Row], n_words: int | None = None) -> dict[str, Any]:
    texts = [" ".join(row.text.split()[:n_words]) if n_words else row.text for row in rows]
    label, found = np.array([row.label for row in rows]), judge.refusal_probability(texts) > 0.5
    return {
        "replies": len(rows),
        "error": share(found != label),
        "refusals_missed": share(~found[label == REFUSAL]),
        "answers_called_refusal": share(found[label == ANSWER]),
    }


def share(flags: Any) -> float:
    return round(float(np.mean(flags)), 4)


def card(rows: Sequence[Row], errors: dict[str, Any], intercept: float) -> dict[str, Any]:
    fitted = [row for row in rows if row.label != PARTIAL]
    human = [row.text for row in fitted if row.by == "human"]
    return {
        "what": "refusal (1) or answer (0) by logistic regression on hashed TF-IDF of a reply's opening",
        "intercept": intercept,
        "views": VIEWS,
        "fitted_on": dict(Counter(f"{row.by}, {('answer', 'refusal')[row.label]}" for row in fitted)),
        "weights": WEIGHT,
        "C": INVERSE_REGULARISATION,
        "errors": errors,
        "note": "Views, C and weights were chosen among about 50 settings by these same errors, which are thus "
        "a little too low. People labelled replies of two models only. The errors are the classifier's alone.",
        "degenerate": {
            "rule": "no words, a loop, or fewer than three words and no refusal; not fitted",
            "loops_among_human_labelled": share([loops(text) for text in human]),
        },
        "sources": "XSTest completions (CC BY 4.0), refusal_direction completions (Apache-2.0), AdversariaLLM "
        "refusals (MIT), safety-tuned-llamas and Alpaca (CC BY-NC 4.0), this project's anchors (Apache-2.0). Weights "
        "only, no text.",
        "licence": "Derived in part from CC BY-NC 4.0 data: for commercial use fit it on other refusals and answers.",
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, default=SHIPPED)
    given = options.parse_args()
    rows = list(read(given.data))
    judge = fit([row for row in rows if row.label != PARTIAL])
    found = card(rows, left_out(rows), judge.intercept)
    arrays = {"idf": judge.idf.astype(np.float16), "coefficients": judge.coefficients.astype(np.float16)}
    save_file(arrays, given.out, metadata={"card": json.dumps(found)})
    given.out.chmod(0o644)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
