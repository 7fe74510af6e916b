"""Quantize a matrix column by column, each time moving the columns that are left to make up for the error (GPTQ).

Frantar et al., 2022, arXiv 2210.17323, algorithm 1. It minimizes ``|W X - Q X|**2`` greedily: when a column is fixed,
its error ``w - q`` goes to the columns after it by ``-(w - q) / U_jj * U_j,j+1:``, with ``U`` the upper Cholesky factor
of the inverse Hessian, which is the least-squares correction of those columns given all that are fixed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from pytest_qllm.errors import QllmError

DAMPING = 0.01
"""Added to the Hessian's diagonal, in units of its mean (section 3.3)."""

BLOCK = 32
"""Columns whose corrections are applied at once, or a group; later ones get theirs by matrix products (section 3.3)."""

Rounding = Callable[[int, torch.Tensor], torch.Tensor]
"""From a column's place in its group and its weights to what stands for them; both of shape (out features,)."""

Fit = Callable[[int, torch.Tensor, torch.Tensor], Rounding]
"""From a group's number, its weights as they are when its turn comes, shape (out features, columns), and the diagonal
of ``U`` there, shape (columns,), to its rounding."""


def solve(weight: torch.Tensor, factor: torch.Tensor, fit: Fit, group: int) -> torch.Tensor:
    """The effective weights, shape (out features, in features), float32.

    Args:
        weight: shape (out features, in features); left as it is.
        factor: upper Cholesky factor of the inverse Hessian, see ``inverse_factor``.
        fit: called for each group, from the left; the last one has fewer columns if ``group`` does not divide.
        group: columns that share their grids.
    """
    work = weight.detach().float().T.contiguous()  # a column is a run of memory
    columns = len(work)
    step = group * max(1, BLOCK // group)
    for begin in range(0, columns, step):
        end = min(begin + step, columns)
        block, corner = work[begin:end], factor[begin:end, begin:end]
        errors = torch.empty_like(block)
        for at in range(end - begin):
            if at % group == 0:
                stop = min(at + group, end - begin)
                rounding = fit((begin + at) // group, block[at:stop].T, corner.diagonal()[at:stop])
            rounded = rounding(at % group, block[at])
            errors[at] = (block[at] - rounded) / corner[at, at]
            block[at] = rounded
            block[at + 1 :].addr_(corner[at, at + 1 :], errors[at], alpha=-1)
        work[end:].addmm_(factor[begin:end, end:].T, errors, alpha=-1)
    return work.T.contiguous()


def inverse_factor(name: str, hessian: torch.Tensor, damping: float = DAMPING) -> torch.Tensor:
    """Upper Cholesky factor of the inverse of the damped Hessian, float32; computed in float64.

    An input that is always zero has no say in the output: its diagonal is set to the mean, so that its weights are
    rounded and move no others.

    Args:
        name: of the layer, for the message.
        hessian: ``X^T X`` over the calibration tokens, shape (in features, in features), up to a factor.
        damping: in units of the mean of the diagonal.

    Raises:
        QllmError: if the layer saw no input but zero, or the Hessian is not positive definite.
    """
    matrix = hessian.double()
    diagonal = matrix.diagonal()
    mean = diagonal.mean()
    if not mean > 0:
        raise QllmError(f"the calibration texts give {name} no input: there is nothing to calibrate it with")
    diagonal[diagonal == 0] = mean
    diagonal += damping * mean
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
        return factor.float()
    except RuntimeError as error:  # torch's LinAlgError is one
        raise QllmError(
            f"the calibration inputs of {name} give no positive definite Hessian; use more calibration texts"
        ) from error
