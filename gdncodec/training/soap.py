"""The optimiser SOAP, in steps that never wait for the device."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["Soap"]

_Bases = list[Any]
"""A square matrix for each axis of a parameter, or an empty list for an axis without one."""


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of the gradient's correlations (Vyas et al., arXiv 2409.11321).

    A matrix for each axis of a parameter holds the running mean of the gradient's correlations
    along that axis. Its eigenvectors are the basis in which Adam keeps the mean squares; they are
    brought up to date at intervals, by one step of power iteration. Parameters with one axis get
    plain Adam. The first step only initialises the matrices.

    The states are tensors that are changed in place. With ``found_inf`` set to a tensor that is 1,
    a step changes nothing, as under :class:`torch.amp.GradScaler`.

    Args:
        params: groups of parameters; ``largest`` of a group is the longest axis with a matrix.
        lr: learning rate.
        betas: weights of the previous value in the means of the gradient and of its square, and of
            the correlations.
        eps: added to the root of the mean square.
        frequency: steps between two updates of the bases.
        largest: longest axis with a matrix, in groups that do not say.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        frequency: int = 10,
        largest: int = 512,
    ) -> None:
        kept = {"lr": lr, "betas": betas, "eps": eps, "frequency": frequency, "largest": largest}
        super().__init__(params, {**kept, "calls": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the parameters that have a gradient."""
        for group in self.param_groups:
            group["calls"] += 1
            due = group["calls"] > 1 and (group["calls"] - 1) % group["frequency"] == 0
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                is_new = not state
                if is_new:
                    state.update(_new_state(parameter, group["largest"]))
                self._update(parameter, gradient, state, group)
                if is_new:
                    _decompose(state)
                elif due:
                    _renew(state)

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """Do what a step does on the device alone."""
        beta1, beta2 = group["betas"]
        count = state["step"]
        good = torch.ones_like(count)
        if self.found_inf is not None:
            good = 1 - self.found_inf.to(count)
            gradient = torch.where(good > 0, gradient, 0.0)
        moving = good * (count > 0)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, moving * (1 - beta1))
        square.lerp_(_project(gradient, state["Q"]).square(), moving * (1 - beta2))
        corrected = (1 - beta2**count).sqrt() / (1 - beta1**count).clamp(min=1e-30)
        direction = _project(mean, state["Q"]) / (square.sqrt() + group["eps"])
        change = _project(direction, state["Q"], back=True)
        parameter.sub_(change * (moving * corrected * group["lr"]))
        for axis, matrix in enumerate(state["GG"]):
            if len(matrix):
                others = [other for other in range(gradient.ndim) if other != axis]
                matrix.lerp_(
                    torch.tensordot(gradient, gradient, [others, others]), good * (1 - beta2)
                )
        count.add_(good)


def _new_state(parameter: Tensor, largest: int) -> dict[str, Any]:
    def square(length: int, make: Any) -> Any:
        if parameter.ndim < 2 or length > largest:
            return []
        return make(length, length, device=parameter.device, dtype=parameter.dtype)

    def eye(rows: int, _: int, **kind: Any) -> Tensor:
        return torch.eye(rows, **kind)

    return {
        "step": torch.zeros((), device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
        "GG": [square(length, torch.zeros) for length in parameter.shape],
        "Q": [square(length, eye) for length in parameter.shape],
    }


def _project(x: Tensor, bases: _Bases, *, back: bool = False) -> Tensor:
    """Return the coordinates of x in the bases, or with ``back`` undo that."""
    if not any(len(basis) for basis in bases):
        return x
    for basis in bases:
        if len(basis):
            x = torch.tensordot(x, basis, dims=[[0], [1 if back else 0]])
        else:
            x = x.movedim(0, -1)
    return x


def _decompose(state: dict[str, Any]) -> None:
    """Set the bases to the eigenvectors of the correlations, those of large eigenvalues first."""
    for correlations, basis in zip(state["GG"], state["Q"], strict=True):
        if len(basis):
            basis.copy_(torch.linalg.eigh(correlations).eigenvectors.flip(1))


def _renew(state: dict[str, Any]) -> None:
    """Bring the bases up to date; the mean squares follow the order of their vectors."""
    square = state["exp_avg_sq"]
    for axis, (correlations, basis) in enumerate(zip(state["GG"], state["Q"], strict=True)):
        if len(basis):
            product = correlations @ basis
            order = (basis * product).sum(dim=0).argsort(descending=True)
            square.copy_(square.index_select(axis, order))
            basis.copy_(torch.linalg.qr(product.index_select(1, order)).Q)
