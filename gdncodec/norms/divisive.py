"""The arithmetic of divisive normalisation, in the memory layout of its input."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gdncodec.norms.once import differentiable_once

__all__ = ["Form", "divide", "divide_"]

# Elements that inference processes at a time: few enough to stay in the cache, many enough to
# divide among the threads.
_BLOCK = 1 << 21

# Elements of a map up to which one convolution beats blocks of matrix products.
_SMALL = 1 << 22


class Form(NamedTuple):
    """A member of the family ``y = x s``, ``s = n^power``, ``n = beta + gamma m(x)``."""

    squared: bool
    """``m(x) = x^2`` and power 1/2 (GDN), otherwise ``|x|`` and 1 (GDN1)."""
    inverse: bool
    """The power is positive: multiply instead of divide."""

    def magnitude(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.square(x, out=out) if self.squared else torch.abs(x, out=out)

    def multiplier_(self, n: Tensor) -> Tensor:
        """Turn n into s, in place."""
        if self.squared:
            return n.sqrt_() if self.inverse else n.rsqrt_()
        return n if self.inverse else n.reciprocal_()

    def pool_gradient(self, s: Tensor, gx: Tensor) -> Tensor:
        """Return the gradient of n, ``gx ds/dn``, where ds/dn is a power of s; overwrites gx."""
        if self.squared:
            return gx.div_(s).mul_(0.5) if self.inverse else gx.mul_(s).mul_(s).mul_(s).mul_(-0.5)
        return gx if self.inverse else gx.mul_(s).mul_(s).neg_()


def _pool(m: Tensor, beta: Tensor, gamma: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``beta + gamma m`` of rows (R, C) or planes (N, C, L)."""
    if m.ndim == 2:
        return torch.addmm(beta, m, gamma.t(), out=out)
    return torch.baddbmm(beta[:, None], gamma.expand(len(m), -1, -1), m, out=out)


class _Divide(torch.autograd.Function):
    """Keeps only x and s for the backward pass; autograd would keep m and n as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: Tensor, gamma: Tensor, form: Form) -> Tensor:
        m = form.magnitude(x)
        s = form.multiplier_(_pool(m, beta, gamma))
        ctx.save_for_backward(x, s, beta, gamma)
        ctx.form = form
        return torch.mul(x, s, out=m)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, s, beta, gamma = ctx.saved_tensors
        with torch.no_grad():
            gradients = _gradients(g, x, s, gamma, ctx.form)
        return *differentiable_once("gdn", gradients, g, x, beta, gamma), None


def _gradients(
    g: Tensor, x: Tensor, s: Tensor, gamma: Tensor, form: Form
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, beta and gamma for that of the output."""
    h = form.pool_gradient(s, g * x)
    m = form.magnitude(x)
    if x.ndim == 2:
        grad_beta, grad_gamma, grad_m = h.sum(0), h.t() @ m, h @ gamma
    else:
        grad_beta, grad_gamma = h.sum((0, 2)), torch.bmm(h, m.transpose(1, 2)).sum(0)
        grad_m = torch.bmm(gamma.t().expand(len(x), -1, -1), h)
    # The memory of m and h is reused: allocating would cost more than the arithmetic.
    slope = x if form.squared else torch.sign(x, out=h)
    grad_x = torch.mul(g, s, out=m)
    grad_x.addcmul_(grad_m, slope, value=2 if form.squared else 1)
    return grad_x, grad_beta, grad_gamma


def _as_rows(x: Tensor) -> Tensor | None:
    """Return x as (R, C) without a copy, if its channels are contiguous in memory."""
    last = x.movedim(1, -1)
    return last.reshape(-1, x.shape[1]) if last.is_contiguous() else None


def _is_small(x: Tensor) -> bool:
    """Return whether one convolution is faster than blocks of matrix products."""
    return x.ndim == 4 and x.device.type == "cpu" and 0 < x.numel() <= _SMALL


def _convolved(m: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """Return ``beta + gamma m`` of maps (N, C, H, W)."""
    return functional.conv2d(m, gamma[:, :, None, None], beta)


def divide(x: Tensor, beta: Tensor, gamma: Tensor, form: Form) -> Tensor:
    """Normalise ``x`` (N, C, *S) by ``beta`` (C,) and ``gamma`` (C, C) [out, in], all of one type.

    The result has the memory format of ``x``. It can be differentiated once.
    """
    if form.inverse and not form.squared and _is_small(x):
        # Here autograd keeps no more than _Divide does.
        return x * _convolved(form.magnitude(x), beta, gamma)
    rows = _as_rows(x)
    if rows is None:
        planes: Tensor = _Divide.apply(x.reshape(*x.shape[:2], -1), beta, gamma, form)
        return planes.view(x.shape)
    y: Tensor = _Divide.apply(rows, beta, gamma, form)
    return y.view(x.movedim(1, -1).shape).movedim(-1, 1)


def divide_(x: Tensor, beta: Tensor, gamma: Tensor, form: Form) -> Tensor:
    """Do as :func:`divide` without gradients, in place where the layout of ``x`` allows it."""
    if _is_small(x):
        return x.mul_(form.multiplier_(_convolved(form.magnitude(x), beta, gamma)))
    rows = _as_rows(x)
    size = max(1, _BLOCK // x.shape[1]) if x.device.type == "cpu" else x.numel() + 1
    if rows is None:
        planes = x.reshape(*x.shape[:2], -1)
        blocks = [b for plane in planes.split(1) for b in plane.split(size, dim=2)]
    else:
        planes, blocks = x, list(rows.split(size))
    m: Tensor | None = None
    s: Tensor | None = None
    for block in blocks:
        if m is not None and m.shape != block.shape:
            m = s = None
        # Blocks reuse the same memory: allocating costs more than the arithmetic.
        m = form.magnitude(block, out=m)
        s = form.multiplier_(_pool(m, beta, gamma, out=s))
        block.mul_(s)
    return planes.view(x.shape)
