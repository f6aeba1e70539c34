"""Tiny training runs for the tests; as a program, a run that kills itself.

Usage: python training_runs.py OUT IMAGES.npy STEPS KILLED_AT THREADS
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from gdncodec.config import ModelConfig
from gdncodec.training.checkpoint import load_checkpoint
from gdncodec.training.crops import CropSampler
from gdncodec.training.distributed import ALONE
from gdncodec.training.loop import train
from gdncodec.training.options import TrainingOptions
from gdncodec.training.recorder import Recorder
from gdncodec.training.state import TrainingState

CONFIG = ModelConfig(widths=(8, 8, 8), synthesis_widths=(8, 8, 8), latent_channels=8)
TINY = {"batch": 2, "crop": 32, "warmup": 1, "report_seconds": 0.0, "optimizer": "adam"}


class Notes:
    """A monitor that records what it is told."""

    def __init__(self, at_step=lambda step: None):
        self.lines, self.figures, self.scores = [], {}, []
        self.at_step = at_step

    def progress(self, step, done, figures):
        self.figures[step] = {**figures, "done": done}
        self.at_step(step)

    def points(self, step, points, pair=None, score=None):
        self.scores.append(score)

    def note(self, text):
        self.lines.append(text)

    def close(self):
        pass

    @property
    def losses(self):
        return {step: figures["loss"] for step, figures in self.figures.items()}


class EveryThird(Recorder):
    """Reports at every third step, so that a killed run loses some."""

    step = 0

    @property
    def due(self):
        return self.step % 3 == 0

    def show(self, state, progress, meter):
        self.step = state.counters.step + 1
        super().show(state, progress, meter)


def options(**changes):
    return TrainingOptions(**{**TINY, **changes})


def as_tensor(photo):
    return torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)


def run(
    how, out, images, *, config=CONFIG, start=None, validation=(), notes=None,
    recorder=Recorder, stop=None,
):  # fmt: skip
    """Train, and return the state and the notes."""
    state = TrainingState(config, how, ALONE)
    if start:
        state.restore(start)
    notes = notes or Notes()
    sampler = CropSampler([as_tensor(p) for p in images], how.crop, how.batch, how.seed)
    recorder = recorder(out, notes, [as_tensor(p) for p in validation], how.report_seconds)
    train(state, sampler, recorder, stop=stop)
    return state, notes


def main(out, images, steps, killed_at, threads):
    torch.set_num_threads(int(threads))

    def kill(step):
        if step == int(killed_at):
            os.kill(os.getpid(), signal.SIGKILL)

    last = Path(out, "last.safetensors")
    run(
        options(steps=int(steps)), Path(out), np.load(images), recorder=EveryThird,
        start=load_checkpoint(last) if last.exists() else None, notes=Notes(kill),
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
