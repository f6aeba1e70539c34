"""The training state: everything that a training step reads and writes."""

import copy
import dataclasses

import torch
from torch import Tensor

from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError, one_line
from gdncodec.nn.loss import RateDistortionLoss
from gdncodec.nn.model import CodecModel
from gdncodec.training.checkpoint import Checkpoint, Counters
from gdncodec.training.distributed import Workers, synchronise_norms
from gdncodec.training.optimizers import make_optimizer
from gdncodec.training.options import TrainingOptions

__all__ = ["TrainingState"]

_LARGEST_GRADIENT = 1.0
_YOUNG = 10
"""After n steps the moving average has a weight of (n + 1) / (n + _YOUNG) at most, so that a new
network soon outweighs its random start."""


class TrainingState:
    """Network, moving average of its weights, loss, optimiser and counters.

    Args:
        config: architecture of the network.
        options: options of the training.
        team: the processes that train.
    """

    def __init__(self, config: ModelConfig, options: TrainingOptions, team: Workers) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.counters = Counters()
        model = CodecModel(config).to(team.device)
        self.model: CodecModel = model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        synchronise_norms(self.model, team)
        # Qualities are drawn from -2 to 102.
        ends = config.lambda_at(-2), config.lambda_at(102)
        self.criterion = RateDistortionLoss(ends, add=team.add).to(team.device)
        self.optimizer = make_optimizer(self.model, options.optimizer, options.learning_rate)
        self._buffers = [*self.model.buffers(), *self.criterion.buffers()]

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    def checkpoint(self) -> Checkpoint:
        """Return a copy of the state, on its device."""
        return Checkpoint(
            self.config,
            dataclasses.replace(self.counters),
            copy.deepcopy(self.model.state_dict()),
            copy.deepcopy(self.average.state_dict()),
            copy.deepcopy(self.optimizer.state_dict()),
            copy.deepcopy(self.criterion.state_dict()),
            dataclasses.asdict(self.options),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint; a light one only gives the weights for a new run.

        Raises:
            ModelError: its weights do not match the network, or its optimiser and loss not the run.
        """
        try:
            self.model.load_state_dict(checkpoint.weights)
            self.average.load_state_dict(checkpoint.average)
        except RuntimeError as error:
            msg = f"the checkpoint is from another version of the network: {one_line(error)}"
            raise ModelError(msg) from error
        if checkpoint.optimizer is None or checkpoint.criterion is None:
            self.counters = Counters(averaged=checkpoint.counters.averaged)
            return
        self.counters = dataclasses.replace(checkpoint.counters)
        try:
            self.criterion.load_state_dict(checkpoint.criterion)
            self.optimizer.load_state_dict(copy.deepcopy(checkpoint.optimizer))
            _check_optimizer(self.optimizer)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"the checkpoint's optimiser or loss does not fit the run: {one_line(error)}"
            raise ModelError(msg) from error
        # Files store no memory layout, and fused optimisers need that of the parameters.
        for parameter, values in self.optimizer.state.items():
            for key, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def set_rate(self, factor: float) -> None:
        """Set the learning rate of the next step, as a factor of the peak of each group."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor * self.counters.slowdown

    @property
    def rate(self) -> float:
        """Current learning rate of the transforms."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def buffers(self) -> list[Tensor]:
        """Return a copy of the running statistics, for :meth:`update`."""
        return [b.clone() for b in self._buffers]

    @torch.no_grad()
    def update(self, before: list[Tensor]) -> Tensor:
        """Do an optimiser step, unless a gradient is not finite.

        Args:
            before: the running statistics before the forward pass.

        Returns:
            Whether the step was skipped, a bool () on the device.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), _LARGEST_GRADIENT)
        bad = ~norm.isfinite()
        # As GradScaler does, so that the host need not wait for the device.
        self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        for buffer, old in zip(self._buffers, before, strict=True):
            buffer.copy_(torch.where(bad, old, buffer))
        self._follow()
        self.counters.step += 1
        self.counters.averaged += 1
        return bad

    def _follow(self) -> None:
        """Update the moving average of the parameters; buffers are copied."""
        age = self.counters.averaged
        keep = min(self.options.ema, (age + 1) / (age + _YOUNG))
        old: list[Tensor] = list(self.average.parameters())
        new: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(old, new, 1 - keep)
        for mine, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mine.copy_(theirs)


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Raise a ValueError unless the moments that were loaded have the shapes of their parameters.

    SOAP also has lists, with a square matrix for each axis of a parameter, or an empty list.
    """
    for parameter, values in optimizer.state.items():
        shape = tuple(parameter.shape)
        for key in {"exp_avg", "exp_avg_sq", *values}:
            value = values[key]
            if isinstance(value, Tensor):
                good = value.ndim == 0 or value.shape == shape
            elif isinstance(value, list):
                sizes = [tuple(m.shape) if isinstance(m, Tensor) else () for m in value]
                good = all(s in ((), (n, n)) for s, n in zip(sizes, shape, strict=True))
            else:
                good = isinstance(value, int | float)
            if not good:
                msg = f"{key} of a parameter of shape {shape} has another one"
                raise ValueError(msg)
