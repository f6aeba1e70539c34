"""Prepares trained transforms for inference: constants folded, parameters computed."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from gdncodec.nn.transforms import Transform
from gdncodec.norms.centred import CentredConv2d
from gdncodec.norms.gdn import GDN

__all__ = ["fold", "prepare_inference"]


@torch.no_grad()
def fold(transform: nn.Sequential) -> nn.Sequential:
    """Return a copy whose frozen affine norms are part of the convolutions before them.

    At inference the copy computes the same as ``transform``, up to floating-point rounding. A stage
    ``Sequential(norm, activation)`` becomes the activation, a centred convolution a plain one with
    centred weights; other stages are copied. The result has the structure and the parameter names
    of a transform built from a configuration whose ``folded`` is true.

    Args:
        transform: convolutions and norm stages, as :mod:`gdncodec.nn.transforms` builds them.

    Raises:
        ValueError: a frozen affine norm does not follow a convolution.
    """
    result = copy.deepcopy(transform)
    for i, stage in enumerate(result):
        if isinstance(stage, CentredConv2d):
            result[i] = _plain(stage)
        if not isinstance(stage, nn.Sequential) or not hasattr(stage[0], "scale_and_shift"):
            continue
        norm: Any = stage[0]
        conv = result[i - 1] if i else None
        if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) or conv.bias is None:
            msg = f"cannot fold {type(norm).__name__}: no convolution with a bias before it"
            raise ValueError(msg)
        scale, shift = (t.double() for t in norm.scale_and_shift())
        conv.weight.copy_(conv.weight.double() * _for_weight(scale, conv))
        if isinstance(result, Transform):
            # scale * ((1 + a) * x + b) + shift = (1 + a) * (scale * x + shift) + b'
            more, added = result.condition(i - 1)
            added.copy_(added.double() * scale - more.double() * shift)
        conv.bias.copy_(conv.bias.double() * scale + shift)
        result[i] = stage[1]
    return result


def _for_weight(scale: Tensor, conv: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Return the scales (C,) of output channels in a shape that broadcasts against the weight."""
    if isinstance(conv, nn.Conv2d):
        return scale.reshape(-1, 1, 1, 1)
    # Of a transposed one they are the second axis, and the first goes through the groups.
    of_group = scale.reshape(conv.groups, 1, -1)
    inputs = conv.in_channels // conv.groups
    return of_group.expand(-1, inputs, -1).reshape(conv.in_channels, -1, 1, 1)


def _plain(conv: CentredConv2d) -> nn.Conv2d:
    """Return the convolution with its centred weights as ordinary ones."""
    weight = conv.effective_weight()
    plain = nn.utils.skip_init(
        nn.Conv2d,
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device=weight.device,
        dtype=weight.dtype,
    )
    plain.weight, plain.bias = nn.Parameter(weight), conv.bias
    return plain


def prepare_inference(transform: nn.Module) -> nn.Module:
    """Make a trained transform faster, in place, and return it.

    GDN and GDN1 compute their parameters here instead of in each forward pass, and work in place,
    as the activations do. Call it after the weights are loaded and moved to their device; the
    result can be neither trained nor loaded.

    Args:
        transform: a transform whose norms follow convolutions.
    """
    for name, child in transform.named_children():
        if isinstance(child, GDN):
            transform.register_module(name, child.for_inference())
        elif isinstance(child, nn.LeakyReLU):
            child.inplace = True
        else:
            prepare_inference(child)
    return transform.eval()
