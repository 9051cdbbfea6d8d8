"""The sampler of Stable Audio without its random part.

The library's own (`CosineDPMSolverMultistepScheduler`) adds noise at every step and needs the package torchsde for it. Here the
differential equation without noise is solved by the library's DPM-Solver++, over the same noise levels, which the model is told as
the same times: that needs no further package, and fewer steps. Sources: Evans et al. 2024, "Stable Audio Open"; Lu et al. 2022,
"DPM-Solver++".
"""

import json
from math import pi
from pathlib import Path
from typing import Any

import torch
from diffusers import EDMDPMSolverMultistepScheduler

SHARED = (
    "sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "num_train_timesteps", "solver_order", "prediction_type", "rho",
    "solver_type", "lower_order_final", "euler_at_final", "final_sigmas_type",
)  # fmt: skip
"""Numbers of the library's sampler that this one has too."""
USUAL: dict[str, Any] = {
    "sigma_min": 0.3, "sigma_max": 500, "sigma_data": 1.0, "sigma_schedule": "exponential", "prediction_type": "v_prediction",
}  # fmt: skip
"""Those of the library's sampler where its file says nothing, as far as the two differ."""


class CosineSolver(EDMDPMSolverMultistepScheduler):
    """DPM-Solver++ over noise levels σ, which the model is told as 2/π · atan σ: 0 at no noise, 1 at noise alone."""

    def precondition_noise(self, sigma: float | torch.Tensor) -> torch.Tensor:
        """The model's time for a noise level."""
        return torch.as_tensor(sigma, dtype=torch.float32).atan() / pi * 2


def solver(folder: Path, expected: str) -> CosineSolver:
    """With the numbers of the sampler in a pipeline's `folder`. Raises ValueError where it is of another class than `expected`."""
    told = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    if told.get("_class_name") != expected:
        raise ValueError(f"its sampler is {told.get('_class_name')}, and {expected} is known for this family")
    return CosineSolver(**{**USUAL, **{name: told[name] for name in SHARED if name in told}})
