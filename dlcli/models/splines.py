"""Increasing maps of one number whose shape is given by other numbers: what a coupling of a flow applies to each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

GREATEST = 2.0  # logarithm of the factor of an affine map; unbounded ones overflow early in training
BOUND = 4.0  # a spline bends within +-BOUND and is the identity outside; inputs are standardized, latents Gaussian
LEAST = 1e-3  # width and height of a bin, as shares, and slope at a knot: the inverse stays computable


class Transform(NamedTuple):
    """An increasing map per number, the identity where all its parameters are 0."""

    parameters: int  # per number
    # (numbers (batch, ...), parameters (batch, parameters, ...), whether to invert) -> (numbers, log slopes), likewise
    apply: Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]


def affine(numbers: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    log_factor, shift = GREATEST * torch.tanh(raw[:, 0] / GREATEST), raw[:, 1]
    if inverse:
        return (numbers - shift) * (-log_factor).exp(), -log_factor
    return numbers * log_factor.exp() + shift, log_factor


def spline(bins: int, numbers: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    """Monotone rational-quadratic splines. Durkan et al. 2019, arXiv:1906.04032, equations 4 to 8."""
    raw = raw.movedim(1, -1)  # (batch, ..., 3 bins - 1)
    x, y = knots(raw[..., :bins]), knots(raw[..., bins : 2 * bins])  # (batch, ..., bins + 1)
    slopes = LEAST + F.softplus(raw[..., 2 * bins :] + math.log(math.exp(1 - LEAST) - 1))
    slopes = F.pad(slopes, (1, 1), value=1.0)
    inside = numbers.abs() < BOUND
    within = torch.where(inside, numbers, torch.zeros_like(numbers))[..., None]
    index = (torch.searchsorted((y if inverse else x).contiguous(), within, right=True) - 1).clamp(0, bins - 1)
    left, bottom, slope = (part.gather(-1, index).squeeze(-1) for part in (x, y, slopes))
    width, height = (part.diff(dim=-1).gather(-1, index).squeeze(-1) for part in (x, y))
    next_slope = slopes.gather(-1, index + 1).squeeze(-1)
    chord = height / width
    bend = slope + next_slope - 2 * chord
    if inverse:
        rise = within.squeeze(-1) - bottom
        a = height * (chord - slope) + rise * bend
        b = height * slope - rise * bend
        root = (b.square() + 4 * a * chord * rise).clamp(min=0).sqrt()
        place = 2 * chord * rise / (b + root)
        moved = left + place * width
    else:
        place = (within.squeeze(-1) - left) / width
        moved = bottom + height * (chord * place.square() + slope * place * (1 - place)) / (
            chord + bend * place * (1 - place)
        )
    steepness = next_slope * place.square() + 2 * chord * place * (1 - place) + slope * (1 - place).square()
    log_slope = 2 * chord.log() + steepness.log() - 2 * (chord + bend * place * (1 - place)).log()
    log_slope = torch.where(inside, -log_slope if inverse else log_slope, torch.zeros_like(log_slope))
    return torch.where(inside, moved, numbers), log_slope


def knots(raw: Tensor) -> Tensor:
    """(..., bins) -> (..., bins + 1) places from -BOUND to BOUND."""
    shares = LEAST + (1 - LEAST * raw.shape[-1]) * raw.softmax(-1)
    inner = 2 * BOUND * shares.cumsum(-1)[..., :-1] - BOUND
    return F.pad(F.pad(inner, (1, 0), value=-BOUND), (0, 1), value=BOUND)


AFFINE = Transform(2, affine)


def splines(bins: int) -> Transform:
    """bins: 2 or more pieces."""
    return Transform(3 * bins - 1, partial(spline, bins))
