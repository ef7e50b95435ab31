"""The data and the plan of a tiny study.

One thread for tiny models: more only wait for each other, and other tests run beside these.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.study.plan import Plan, read_plan
from tests.sqsd.tiny import random_adapter, save_adapter, save_tiny, tiny_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up files in the shape of the study's data."""
    folder = tmp_path_factory.mktemp("data")
    alpaca = [
        {"instruction": f"Name thing {i}.", "input": "", "output": "A thing it is. " * (1 + i % 4)}
        for i in range(40)
    ]
    refusals = [{"Behavior": f"Do harm {i}", "Safe_Response": "I'm sorry, but I can't."} for i in range(5)]
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I am here."}]
    files: dict[str, Any] = {
        "alpaca.json": alpaca,
        "advbench/advbench.csv": [{"goal": f"Ask {i}", "target": f"Sure, here is {i}"} for i in range(324)],
        "xstest/xstest_prompts.csv": [
            *({"prompt": f"Safe {i}", "label": "safe"} for i in range(8)),
            *({"prompt": f"Unsafe {i}", "label": "unsafe"} for i in range(27)),
        ],
        "xstest/xstest_v2_completions_one.csv": [
            {"prompt": f"Safe {i}", "completion": "Here it is. More.", "final_label": "1_full_compliance"}
            for i in range(8)
        ],
        "safety_tuned/safety_only_data_Instructions.json": [
            {"instruction": f"Hurt {i}", "output": "I'm sorry, but I cannot help with that."}
            for i in range(6)
        ],
        "alpaca_en_demo/alpaca_en_demo.json": alpaca,
        "refusals/adv_training_behaviors_safe_responses.csv": refusals,
        "refusals/adv_training_behaviors_safe_responses_longer.csv": refusals,
    }
    for name, rows in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("w", newline="") as file:
            if name.endswith(".json"):
                json.dump(rows, file)
                continue
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (folder / "malicious_instruct").mkdir()
    (folder / "malicious_instruct/MaliciousInstruct.txt").write_text("Wish ill 1\nWish ill 2\n")
    (folder / "qi2023").mkdir()
    (folder / "qi2023/identity-shift-aoa.jsonl").write_text(json.dumps({"messages": turns}))
    return folder


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of two arms and two seeds with a tiny model."""
    folder = tmp_path_factory.mktemp("tiny")
    model = save_tiny("llama", folder / "model")
    names = ("danger", "safety", "state")
    for seed, name in enumerate(names):
        save_adapter(random_adapter(tiny_model("llama"), 2, seed=seed), folder / f"{name}-tiny")
    danger, safety, state = (str(folder / f"{name}-tiny") for name in names)
    file = folder / "tiny.toml"
    file.write_text(
        f"""seeds = [0, 1]
        start = {{ model = "{model}", danger = "{danger}", safety = "{safety}", danger_state = "{state}" }}
        pool = {{ file = "alpaca.json", first = 30, rows = 10, max_tokens = 200, min_answer_tokens = 2 }}
        recipe = {{ update = "lora", steps = 2, step_tokens = 300, learning_rate = 0.05 }}
        probing = {{ harmful = 3, harmless = 2, utility = 2, new_tokens = 3 }}
        [[stage]]
        arms = ["window:sqsd:1", "remove:random:30"]
        """
    )
    return read_plan(file)
