"""The program that torchrun starts in the tests of training with several processes.

Usage: training_team.py compare OUT IMAGES.npy    a few steps with each norm, weights to OUT
       training_team.py die MARK OPTIONS...         `gdncodec train`; the second process kills
                                                    itself after four steps, unless MARK exists
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from training_runs import CONFIG, as_tensor, options

from gdncodec.cli import main
from gdncodec.training import loop
from gdncodec.training.crops import CropSampler, images_of_slots
from gdncodec.training.distributed import workers
from gdncodec.training.loop import train
from gdncodec.training.recorder import Recorder
from gdncodec.training.state import TrainingState

NORMS = ("gdn1", "batch")
HOW = options(steps=5, batch=4, frozen=0.3, mixed=0.5, precision="float32", ema=0.5)


def weights(norm, images, team):
    """Train as a team on 12 images, of which each process holds its share."""
    config = dataclasses.replace(CONFIG, norm=norm, synthesis_norm=norm)
    state = TrainingState(config, HOW, team)
    slots = team.slots(HOW.batch)
    own = images_of_slots(len(images), HOW.batch, slots)
    assert len(own) == len(images) / team.world
    held = {i: as_tensor(images[i]) for i in own}
    sampler = CropSampler(held, HOW.crop, HOW.batch, HOW.seed, slots=slots, count=len(images))
    train(state, sampler, team=team)
    return {
        **{f"average.{k}": v.contiguous() for k, v in state.average.state_dict().items()},
        "usual": state.criterion.usual,
    }


def compare(out, images):
    with workers("cpu") as team:
        for norm in NORMS:
            result = weights(norm, np.load(images), team)
            if team.is_main:
                save_file(result, Path(out, norm))
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in names if "gloo" in name]  # one left could abort at the exit


def die(mark, *arguments):
    original = loop._step

    def step(state, *rest):
        if os.environ["RANK"] == "0":
            with Path(f"{mark}.log").open("a") as log:
                print(os.environ["TORCHELASTIC_RESTART_COUNT"], state.counters.step, file=log)
        elif state.counters.step == 4 and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(state, *rest)

    loop._step = step
    Recorder.due = True
    main(["train", *arguments])


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"compare": compare, "die": die}[sys.argv[1]](*sys.argv[2:])
