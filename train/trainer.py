"""TRL's SFTTrainer with the loss on stored teacher signals."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import PrinterCallback, Trainer
from trl import SFTConfig, SFTTrainer

from potstill.errors import BadInput, StageFailed
from potstill.recipe import Recipe

from .data import IGNORED, LengthSortedSampler, TrainingRows
from .loss import LossSettings, LossTerms, Targets, distillation_loss
from .metrics import MetricsLog
from .precision import has_fast_bfloat16

GPU_CHUNK_BYTES = 512 * 2**20


class DistillationTrainer(SFTTrainer):
    """Trains on batches of `SignalCollator`; raises BadInput for an output layer that the loss cannot use."""

    # compute_loss divides by the response tokens of the whole effective batch itself.
    loss_is_scaled_for_ga = True

    def __init__(self, rows: TrainingRows, settings: LossSettings, metrics: MetricsLog, **arguments: Any):
        self.rows, self.settings, self.metrics = rows, settings, metrics
        require_plain_head(arguments["model"])
        super().__init__(train_dataset=rows.dataset, callbacks=[metrics], **arguments)
        self.remove_callback(PrinterCallback)
        # Else the tokens of the effective batch would not be counted for models that do not ask for them.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """The loss of a micro-batch, divided by the response tokens of its effective batch."""
        predicts = inputs["labels"][:, 1:] != IGNORED
        # No mask: causal attention never looks right, where the padding is. No logits: the loss makes them.
        outputs = model(
            input_ids=inputs["input_ids"],
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=torch.empty(0, dtype=torch.long, device=predicts.device),
        )
        targets = Targets(
            inputs["labels"][:, 1:][predicts], inputs["topk_ids"], inputs["topk_logprobs"], inputs["log_tail"]
        )
        terms = distillation_loss(
            outputs.hidden_states[-1][:, :-1][predicts],
            self.model.get_output_embeddings().weight,
            targets,
            self.settings,
            float(num_items_in_batch),
        )
        self._require_finite(terms)
        self.metrics.add(terms, len(targets.token_ids_N))
        return terms.loss

    def _require_finite(self, terms: LossTerms) -> None:
        if not terms.loss.isfinite():
            raise StageFailed(
                f"the training loss is {terms.loss.item()} at step {self.state.global_step + 1}. Most often "
                f"the learning rate is too high ({self.args.learning_rate:g}): lower `train.learning_rate` or "
                "raise `train.warmup_ratio`. Checkpoints from before are kept."
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the loss consists of, for metrics.jsonl and the experiment trackers."""
        if "loss" in logs:
            logs |= self.metrics.write(self.state.global_step, logs).model_dump(exclude={"step"})
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSortedSampler:
        return LengthSortedSampler(self.rows.lengths, self.args.per_device_train_batch_size, self.args.seed)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        Trainer._save_checkpoint(self, model, trial)  # TRL would add a model card

    def _send_telemetry(self) -> None:
        """Nobody is told about a run."""


def require_plain_head(model: Any) -> None:
    """Raise BadInput unless a model's logits are its last hidden states times its output layer's weight."""
    head = model.get_output_embeddings()
    ids = torch.arange(4, device=model.device)[None]
    with torch.no_grad():
        outputs = model(input_ids=ids, use_cache=False, output_hidden_states=True)
        product = outputs.hidden_states[-1] @ head.weight.T
    if isinstance(head, BaseTunerLayer) or (product - outputs.logits).norm() > 1e-3 * product.norm():
        raise BadInput(
            f"the output layer of this {model.config.model_type} student is more than one matrix product (a "
            "bias, a scale, a cap on the logits, or an adapter), which the training loss does not cover. Choose "
            "another student, or leave the output layer out of `student.lora.target_modules`."
        )


def loss_settings(recipe: Recipe) -> LossSettings:
    """What a recipe and this machine say about the loss."""
    kd = recipe.train.kd
    return LossSettings(
        kd_weight=kd.weight,
        sft_weight=recipe.train.sft_weight,
        divergence=kd.divergence,
        beta=kd.beta,
        alpha=kd.alpha,
        matmul_dtype=torch.bfloat16 if has_fast_bfloat16() else None,
        chunk_bytes=GPU_CHUNK_BYTES if torch.cuda.is_available() else LossSettings.chunk_bytes,
    )


def training_arguments(recipe: Recipe, total_steps: int, checkpoints: Path) -> SFTConfig:
    """TRL's configuration for a recipe. Raises BadInput for an experiment tracker that is not installed."""
    train = recipe.train
    for tracker in train.report_to:
        if find_spec(tracker) is None:
            raise BadInput(f"`train.report_to` names {tracker}, which is not installed: pip install {tracker}")
    on_gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(checkpoints),
        run_name=recipe.name,
        seed=recipe.seed,
        max_steps=total_steps,
        per_device_train_batch_size=train.per_device_train_batch_size,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.lr_scheduler_type,
        warmup_steps=train.warmup_ratio,  # below 1 it is a share of all steps
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=has_fast_bfloat16(),
        use_cpu=not on_gpu,
        gradient_checkpointing=train.gradient_checkpointing,
        save_steps=train.save_steps,
        save_total_limit=2,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,
        report_to=list(train.report_to) or "none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    # One process trains on one GPU, also where it sees several.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
