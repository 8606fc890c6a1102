"""What vLLM's worker lacks on CPU: mixed into it by name (`worker_extension_cls`). Imports neither torch nor vLLM."""

from __future__ import annotations

from typing import Any

EXTENSION = "sdar_agents.backends.vllm_worker.WeightSync"
RELOAD = "reload_weights_and_head"


class WeightSync:
    """A reload that also reaches an output layer that is tied to the embedding.

    vLLM's CPU kernels keep a packed copy of each matrix. A reload packs anew what it loads, but a tied output layer is
    loaded under the embedding's name, so that its copy would stay the old one (vLLM 0.32).
    """

    def reload_weights_and_head(self, **arguments: Any) -> None:
        """`reload_weights`, then the packed copies of output layers."""
        worker: Any = self
        worker.reload_weights(**arguments)
        for module in worker.get_model().modules():
            if hasattr(module, "cpu_linear") and type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)
