"""Fitting a network: epochs, checkpoints, early stopping, learning curves on disk."""

from __future__ import annotations

import csv
import logging
import os
import signal
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def check_devices(devices: int) -> None:
    """Refuse a number of devices that this machine does not have.

    Parameters
    ----------
    devices : int
        See `fit`.

    Raises
    ------
    ValueError
    """
    n_gpus = torch.cuda.device_count()
    most, what = (n_gpus, "GPUs") if n_gpus else (os.cpu_count() or 1, "cores")
    if not 1 <= devices <= most:
        raise ValueError(f"devices is {devices}; this machine has {most} {what}.")


def fit(
    module: Any,
    folder: Path,
    *,
    epochs: int,
    patience: int,
    validate_every: int = 1,
    progress: bool = True,
    gradient_clip: float | None = None,
    devices: int = 1,
) -> None:
    """Train a module, or go on where a stopped run left off; it then holds the best weights.

    Parameters
    ----------
    module : LightningModule
        With `network`; logs "validation".
    folder : Path
        For checkpoints (best.ckpt, last.ckpt), metrics.csv and TensorBoard's events.
    epochs, patience : int
        At most; and how many without a better validation stop the training.
    validate_every : int
        Epochs between validations and checkpoints.
    progress : bool
    gradient_clip : float, optional
        Largest norm of the gradient.
    devices : int
        GPUs, or processes on a CPU; several train on different batches (DDP).

    Raises
    ------
    ValueError
        If a checkpoint in the folder is damaged, or holds anything but tensors and numbers.
    """
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    if last.exists():
        _read(last)
    keep: dict[str, Any] = {"every_n_epochs": validate_every, "enable_version_counter": False}
    # Lightning's notes on hardware that is not there, workers and logging intervals.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=epochs,
            default_root_dir=folder,
            logger=[
                _csv_logger(folder),
                TensorBoardLogger(folder, name="", version=""),
            ],
            callbacks=[
                EarlyStopping("validation", patience=max(1, patience // validate_every)),
                ModelCheckpoint(folder, filename="best", monitor="validation", **keep),
                ModelCheckpoint(folder, filename="last", monitor=None, **keep),
                *([_EndsWithItsParent()] if devices > 1 else []),
                *([RichProgressBar()] if progress else []),
            ],
            enable_progress_bar=progress,
            accelerator="auto",
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            gradient_clip_val=gradient_clip,
            check_val_every_n_epoch=validate_every,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            log_every_n_steps=1_000_000,  # once per epoch
        )
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
        except SystemExit:  # what Lightning makes of an interrupt; it ignores any further ones
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        finally:
            if (
                trainer.strategy.launcher is not None
            ):  # which leaves its processes after an interrupt
                trainer.strategy.launcher.kill(signal.SIGKILL)
    module.load_state_dict(_read(best)["state_dict"])
    module.cpu()


class _EndsWithItsParent(Callback):
    """A process of several, which torch interrupts (SIGINT) when its parent is gone.

    Jobs in the background of a shell ignore interrupts, and so would their processes.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _read(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint of Lightning's, of which nothing is run."""
    try:
        return dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, LookupError, EOFError, ValueError, UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{checkpoint} is damaged, or no checkpoint: {reason} Delete {checkpoint.parent} and run "
            "again: this network is trained anew, others are kept."
        ) from error


def _csv_logger(folder: Path) -> CSVLogger:
    """Logs to metrics.csv, and keeps what a stopped run logged, which Lightning would delete."""
    path = folder / "metrics.csv"
    earlier = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    logger.experiment.metrics = earlier
    logger.save()
    return logger
