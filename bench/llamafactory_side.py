"""LLaMA-Factory's part of `sft_speed.py`, run by the Python of its own environment: `base folder sizes fp32|bf16|defaults`."""

import json
import resource
import sys
import time
from pathlib import Path

base, folder, wanted = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
info = {
    "rows": {
        "file_name": "train.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
}
(folder / "dataset_info.json").write_text(json.dumps(info))

from llamafactory.train.tuner import run_exp  # noqa: E402
from transformers import Trainer, TrainerCallback  # noqa: E402

marks, seen = [], [0]
step = Trainer.training_step


def counted(self, model, inputs, *rest):
    """Neat packing's mask is additive, [rows, 1, length, length]: a real token sees itself, at 0."""
    mask = inputs["attention_mask"]
    seen[0] += int((mask.diagonal(dim1=-2, dim2=-1) == 0).sum() if mask.dim() == 4 else (mask != 0).sum())
    return step(self, model, inputs, *rest)


class Clock(TrainerCallback):
    """Marks the end of every update."""

    def on_step_end(self, args, state, control, **rest):
        marks.append((time.perf_counter(), time.process_time(), seen[0] - sum(one[2] for one in marks)))


Trainer.training_step = counted
ours_to_set = {
    "model_name_or_path": base, "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_target": "all",
    "lora_rank": wanted["rank"], "lora_alpha": wanted["alpha"], "template": "smollm2", "dataset": "rows",
    "dataset_dir": str(folder), "learning_rate": wanted["rate"], "max_steps": wanted["steps"], "output_dir": str(folder / "lf"),
    "overwrite_output_dir": True, "overwrite_cache": True, "logging_steps": 10_000, "save_strategy": "no", "report_to": "none",
    "use_cpu": True, "seed": wanted["seed"], "preprocessing_num_workers": 1, "trust_remote_code": False,
}
fastest = {
    "lora_dropout": 0.0, "cutoff_len": wanted["sequence"], "packing": True, "neat_packing": True,
    "per_device_train_batch_size": wanted["sequences"], "gradient_accumulation_steps": 1, "lr_scheduler_type": "cosine",
    "warmup_steps": 1, "bf16": sys.argv[4] == "bf16", "fp16": False, "disable_gradient_checkpointing": True, "weight_decay": 0.0,
}
run_exp({**ours_to_set, **({} if sys.argv[4] == "defaults" else fastest)}, callbacks=[Clock()])
print(json.dumps({"marks": marks, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}))
