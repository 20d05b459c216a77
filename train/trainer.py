"""TRL's SFTTrainer with the loss on stored teacher signals."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer
from trl import SFTConfig, SFTTrainer

from potstill.errors import BadInput
from potstill.recipe import Recipe
from potstill.recipe_train import Taid

from .batches import Batch, BatchesOfProcess
from .checks import require_progress, require_separate_rows
from .data import IGNORED, TrainingRows
from .divergences import Term
from .head import adapter_hidden, output_weight, require_plain_head
from .loss import LossSettings, LossTerms, Targets, chunk_rows, distillation_loss
from .metrics import MetricsLog
from .precision import has_fast_bfloat16
from .schedule import TaidProgress


class DistillationTrainer(SFTTrainer):
    """Trains on batches of `SignalCollator`; raises BadInput for a model that the loss or the batches do not suit."""

    # compute_loss divides by the response tokens of the whole effective batch itself.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        rows: TrainingRows,
        plan: list[Batch],
        settings: LossSettings,
        metrics: MetricsLog,
        taid: Taid | None = None,
        **arguments: Any,
    ):
        self.rows, self.plan, self.settings, self.metrics = rows, plan, settings, metrics
        require_plain_head(arguments["model"])
        if arguments["data_collator"].packing:
            require_separate_rows(arguments["model"])
        self.taid = TaidProgress(taid, self.sum_over_processes) if taid else None
        callbacks = [callback for callback in (metrics, self.taid) if callback]
        with adapter_hidden(arguments["model"]):
            super().__init__(train_dataset=rows.dataset, eval_dataset=rows.validation, callbacks=callbacks, **arguments)
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
        settings = self.settings
        if self.taid:
            moved = (replace(term, progress=self.taid.progress) for term in settings.terms)
            settings = replace(settings, terms=tuple(moved))
        terms = self._terms(model, inputs, settings, float(num_items_in_batch))
        self.metrics.add(terms, len(inputs["log_tail"]))
        if self.taid:
            index = next(i for i, term in enumerate(settings.terms) if term.divergence == "taid")
            self.taid.add(terms.term_sums[index], len(inputs["log_tail"]))
        # Gradients are averaged over processes, each of which has divided by the tokens of all.
        return terms.loss * self.accelerator.num_processes

    def _terms(self, model: Any, inputs: dict[str, Tensor], settings: LossSettings, normaliser: float) -> LossTerms:
        predicts = inputs["labels"][:, 1:] != IGNORED
        # No mask: causal attention never looks right, where the padding is. No logits: the loss makes them.
        outputs = model(
            input_ids=inputs["input_ids"],
            position_ids=inputs.get("position_ids"),
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=torch.empty(0, dtype=torch.long, device=predicts.device),
        )
        labels = inputs["labels"][:, 1:][predicts]
        targets = Targets(
            labels, *(inputs[name] for name in ("topk_ids", "topk_logprobs", "log_tail", "token_logprobs"))
        )
        hidden_ND = outputs.hidden_states[-1][:, :-1][predicts]
        return distillation_loss(hidden_ND, output_weight(self.model), targets, settings, normaliser)

    def measure(self, rows: Any) -> dict[str, float]:
        """KL, cross-entropy and student tail, each a mean over the response tokens of stored answers.

        Every process measures all of them, so that nothing has to be exchanged.
        """
        totals, tokens = torch.zeros(3, dtype=torch.float64), 0
        was_training = self.model_wrapped.training
        self.model_wrapped.eval()
        for start in range(0, len(rows), self.args.per_device_train_batch_size):
            batch = rows.select(range(start, min(start + self.args.per_device_train_batch_size, len(rows))))
            inputs = self._prepare_inputs(self.data_collator(list(batch)))
            with torch.no_grad(), self.compute_loss_context_manager():
                terms = self._terms(self.model_wrapped, inputs, self.settings, 1.0)
            totals += torch.stack([terms.kl_sum, terms.ce_sum, terms.student_tail_sum]).double().cpu()
            tokens += len(inputs["log_tail"])
        self.model_wrapped.train(was_training)
        return dict(zip(("kl", "ce", "tail_mass"), (totals / tokens).tolist(), strict=True))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure on the validation answers; the best checkpoint is the one with the lowest KL."""
        measured = self.measure(self.rows.validation)
        self.metrics.write_validation(self.state.global_step, measured)
        found = {f"eval_{name}": value for name, value in measured.items()}
        self.log(found)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the loss consists of, for metrics.jsonl and the experiment trackers.

        Raises StageFailed when training has failed; a step that is saved is logged before.
        """
        if "loss" in logs:
            row = self.metrics.row(self.state.global_step, logs, self.sum_over_processes)
            require_progress(row, self.metrics.first_loss, self.args.learning_rate)
            self.metrics.write(row)
            logs |= row.model_dump(exclude={"step"}, exclude_none=True)
        super().log(logs, start_time)

    def sum_over_processes(self, sums: Tensor) -> Tensor:
        """The same numbers of all processes, added up."""
        return cast(Tensor, self.accelerator.reduce(sums.to(self.accelerator.device), reduction="sum"))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's batches of the whole run: an epoch of the trainer is the run."""
        state = self.accelerator
        return DataLoader(
            self.train_dataset,
            batch_sampler=BatchesOfProcess(self.plan, state.process_index, state.num_processes),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        Trainer._save_checkpoint(self, model, trial)  # TRL would add a model card
        self.accelerator.wait_for_everyone()

    def _send_telemetry(self) -> None:
        """Nobody is told about a run."""


def loss_settings(recipe: Recipe) -> LossSettings:
    """What a recipe and this machine say about the loss."""
    kd = recipe.train.kd
    shares = (1.0,) if kd.mix is None else (1 - kd.mix.share, kd.mix.share)
    return LossSettings(
        kd_weight=kd.weight,
        sft_weight=recipe.train.sft_weight,
        terms=tuple(
            Term(found.divergence, found.beta, found.alpha, share=share)
            for found, share in zip(kd.divergences, shares, strict=True)
        ),
        tail=kd.tail,
        temperature=kd.temperature,
        matmul_dtype=torch.bfloat16 if has_fast_bfloat16() else None,
        chunk_rows=chunk_rows(torch.cuda.is_available()),
        tile_width=None if torch.cuda.is_available() else LossSettings.tile_width,
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
        eval_strategy="steps" if train.validation else "no",
        eval_steps=train.save_steps,
        load_best_model_at_end=train.validation is not None,
        metric_for_best_model="kl" if train.validation else None,
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        ddp_find_unused_parameters=False,
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
