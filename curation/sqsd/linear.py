"""One linear layer that adapts, runs and measures at once.

All thin factors of all terms are stored beside the weight in one matrix

    [ W    B_1  B_2  ... ]   O rows
    [ A_1   0    0       ]   r_1 rows
    [ A_2   0    0       ]   ...

so `x [W; A]'` yields the layer's output and every A x, and `g [W, B]` the input gradient and every B' g, each
in one matrix product. As separate products with r = 8 columns they are bound by memory and cost about a fifth
of the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from curation.sqsd.adapters import LowRank, weight_shape


@dataclass(frozen=True, slots=True)
class Measured:
    """What one module's backward leaves of a batch of n samples, fp32.

    For a full-parameter update `first` and `second` are <delta, V> of every direction, (n, directions), and
    |delta|^2, (n,), themselves. For a LoRA they are P' (n, r, O) and Q (n, r, I), which `settle` turns into the same
    for many modules at once.
    `by_position`, where asked for: <delta, V> of the first direction split over the T update positions, (n, T).
    """

    first: Tensor
    second: Tensor
    by_position: Tensor | None


class FusedLinear:
    """A layer's weight and the factors that ride along with it."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.out, self.inner = weight_shape(layer)
        self.bias = cast("Tensor | None", layer.bias)
        self.matrix = torch.empty(0)
        self._factors: list[LowRank] = []

    def place(self, factor: LowRank | None) -> slice:
        """Reserve columns for a factor pair; a slice of width zero if there is none."""
        start = sum(f.A.shape[0] for f in self._factors)
        if factor is None:
            return slice(start, start)
        self._factors.append(factor)
        return slice(start, start + factor.A.shape[0])

    def build(self) -> None:
        """Write the matrix and make the layer's own weight a view of it: nothing is held twice."""
        weight = cast("nn.Parameter", self.layer.weight)
        transposed = isinstance(self.layer, Conv1D)
        W = weight.data.T if transposed else weight.data
        rank = sum(f.A.shape[0] for f in self._factors)
        matrix = W.new_zeros(self.out + rank, self.inner + rank)
        matrix[: self.out, : self.inner] = W
        start = 0
        for factor in self._factors:
            stop = start + factor.A.shape[0]
            matrix[self.out + start : self.out + stop, : self.inner] = factor.A
            matrix[: self.out, self.inner + start : self.inner + stop] = factor.B
            start = stop
        view = matrix[: self.out, : self.inner]
        weight.data = view.T if transposed else view
        self.matrix = matrix


@dataclass
class Probe:
    """One term at one layer: which state adapts it and which directions its update is projected on."""

    fused: FusedLinear
    state: LowRank | None
    directions: Sequence[LowRank]
    update: Literal["lora", "full"]
    state_at: slice = field(init=False)
    directions_at: list[slice] = field(init=False)

    def __post_init__(self) -> None:
        device = cast("Tensor", self.fused.layer.weight).device
        self.state = None if self.state is None else _to(self.state, device)
        self.directions = [_to(direction, device) for direction in self.directions]
        self.state_at = self.fused.place(self.state)
        # only a full-parameter update is contracted with a direction's own factors, token by token
        self.directions_at = [self.fused.place(V) for V in self.directions if self.update == "full"]
        if self.directions and self.state is not None:
            A, B = self.state.A, self.state.B
            self.AA, self.BB = A @ A.T, B.T @ B  # (r, r)
            self.K1 = torch.stack([(A @ V.A.T) @ V.B.T for V in self.directions])  # (directions, r, O)
            self.K2 = torch.stack([(B.T @ V.B) @ V.A for V in self.directions])  # (directions, r, I)

    def measure(self, x: Tensor, Ax: Tensor, g: Tensor, Bg: Tensor, positions: bool) -> Measured:
        """From inputs x (n,T,I), output gradients g (n,T,O) and their products with all factors (n,T,R)."""
        if self.update == "full":
            return self._measure_full(x, Ax, g, Bg, positions)
        return self._measure_lora(x, Ax[..., self.state_at], g, Bg[..., self.state_at], positions)

    def _measure_lora(self, x: Tensor, u: Tensor, g: Tensor, q: Tensor, positions: bool) -> Measured:
        """delta = -(gB A + B gA): what one SGD step on the state's own factors does to the weight."""
        P = _product(u.transpose(1, 2).contiguous(), g)  # transposed, so that rows stay contiguous
        Q = _product(q.transpose(1, 2).contiguous(), x)
        if not positions:
            return Measured(P, Q, None)
        state = cast("LowRank", self.state)
        at_g = ((g.float() @ self.K1[0].T) * u.float()).sum(2)
        at_x = ((x.float() @ self.K2[0].T) * q.float()).sum(2)
        return Measured(P, Q, -state.scaling * (at_g + at_x))

    def _measure_full(self, x: Tensor, Ax: Tensor, g: Tensor, Bg: Tensor, positions: bool) -> Measured:
        """delta = -sum_t g_t x_t', its norm from (T, T) Gram matrices ("ghost norm")."""
        by_position = [-(Ax[..., at].float() * Bg[..., at].float()).sum(2) for at in self.directions_at]
        gram = _product(g, g.transpose(1, 2)) * _product(x, x.transpose(1, 2))
        dots = torch.stack([along.sum(1) for along in by_position], 1)
        return Measured(dots, gram.sum((1, 2)), by_position[0] if positions else None)


def settle(probes: Sequence[Probe], measured: Sequence[Measured]) -> tuple[Tensor, Tensor]:
    """<delta_m, V_m> of every direction, (directions, n, modules), and |delta_m|^2, (n, modules).

    Modules of one shape are settled together: a few large products instead of a dozen tiny ones per module.
    """
    if probes[0].update == "full":
        dots = torch.stack([m.first for m in measured], 2)  # (n, directions, modules)
        return dots.transpose(0, 1), torch.stack([m.second for m in measured], 1)
    n = len(measured[0].first)
    dot = measured[0].first.new_empty(len(probes[0].directions), n, len(probes))
    square = measured[0].first.new_empty(n, len(probes))
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, one in enumerate(measured):
        alike.setdefault((*one.first.shape[1:], one.second.shape[2]), []).append(i)
    for places in alike.values():
        dot[..., places], square[:, places] = _settle_alike(
            [probes[i] for i in places], [measured[i] for i in places]
        )
    return dot, square


def _settle_alike(probes: Sequence[Probe], measured: Sequence[Measured]) -> tuple[Tensor, Tensor]:
    """The same for m modules of one shape, with the identities of projection.py: (directions, n, m) and (n, m)."""
    states = [cast("LowRank", probe.state) for probe in probes]
    P = torch.stack([m.first for m in measured])  # (m, n, r, O)
    Q = torch.stack([m.second for m in measured])  # (m, n, r, I)
    A, B = torch.stack([s.A for s in states]), torch.stack([s.B for s in states])
    K1, K2 = torch.stack([p.K1 for p in probes]), torch.stack([p.K2 for p in probes])
    AA, BB = torch.stack([p.AA for p in probes]), torch.stack([p.BB for p in probes])
    s = torch.tensor([state.scaling for state in states], device=P.device).unsqueeze(1)
    dot = P.flatten(2) @ K1.flatten(2).mT + Q.flatten(2) @ K2.flatten(2).mT  # (m, n, directions)
    PP, QQ = P @ P.mT, Q @ Q.mT
    cross = (P @ B.unsqueeze(1)) * (Q @ A.mT.unsqueeze(1)).mT
    square = (PP * AA.unsqueeze(1) + QQ * BB.unsqueeze(1) + 2 * cross).sum((2, 3))
    return (-s.unsqueeze(2) * dot).permute(2, 1, 0), (s * s * square).T


def adapted_linear(x: Tensor, *, probe: Probe, record: Callable[[Measured], None], positions: bool) -> Tensor:
    """The layer at the probe's state, x (n, T, I) -> (n, T, O); backward calls `record` with what it measured."""
    return cast("Tensor", _AdaptedLinear.apply(x, probe, record, positions))


class _AdaptedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, probe: Probe, record: Callable[[Measured], None], positions: bool
    ) -> Tensor:
        fused, state = probe.fused, probe.state
        product = x.reshape(-1, fused.inner) @ fused.matrix[:, : fused.inner].T
        y = product[:, : fused.out]
        Ax = product[:, fused.out :].contiguous()  # a copy, or the whole product would stay alive
        if state is not None:
            y.addmm_(Ax[:, probe.state_at], state.B.T.to(y.dtype), alpha=state.scaling)
        if fused.bias is not None:
            y += fused.bias
        ctx.probe, ctx.record, ctx.positions = probe, record, positions
        ctx.save_for_backward(x, Ax)
        return y.view(*x.shape[:-1], fused.out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        probe = cast("Probe", ctx.probe)
        fused, state = probe.fused, probe.state
        x, Ax = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        g = grads[0]
        product = g.reshape(-1, fused.out) @ fused.matrix[: fused.out]
        grad = product[:, : fused.inner]
        Bg = product[:, fused.inner :]
        if probe.directions:
            rows = x.shape[:-1]
            cast("Callable[[Measured], None]", ctx.record)(
                probe.measure(x, Ax.view(*rows, -1), g, Bg.reshape(*rows, -1), bool(ctx.positions))
            )
        if state is not None:
            grad.addmm_(Bg[:, probe.state_at], state.A.to(grad.dtype), alpha=state.scaling)
        return grad.view(x.shape), None, None, None


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Batched matrix product, accumulated and returned in fp32 whatever the inputs' dtype."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    if a.is_cuda:
        return torch.bmm(a, b, out_dtype=torch.float32)
    return torch.bmm(a.float(), b.float())


def _to(pair: LowRank, device: torch.device) -> LowRank:
    return LowRank(pair.A.to(device), pair.B.to(device), pair.scaling)
