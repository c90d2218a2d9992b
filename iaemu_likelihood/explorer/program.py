"""A function of tensors as a list of operations that a page can carry out.

The function is traced once, so that what a page computes is what the emulator's own code computes:
the page holds no formula of its own, only tensor operations (`program.js`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# The operations that `program.js` carries out, as torch names them.
OPERATIONS = frozenset({
    "acos", "add.Tensor", "addmm", "baddbmm", "bmm", "cat", "clamp", "clamp.Tensor", "cos", "div.Tensor",
    "exp2", "expand", "expm1", "index.Tensor", "mm", "mul.Tensor", "permute", "pow.Tensor_Scalar",
    "select.int", "silu", "slice.Tensor", "sqrt", "sub.Tensor", "sum.dim_IntList", "transpose.int",
    "unbind.int", "unsqueeze", "view",
})  # fmt: skip
# Operations that change nothing where no tensor is ever written to.
_NOTHING = frozenset({"alias", "clone", "detach", "lift_fresh_copy", "lift_fresh"})
_SAME = {"_unsafe_view": "view", "mul_.Tensor": "mul.Tensor"}


class Constants:
    """Constants of any number of programs, each of them once, in single precision."""

    def __init__(self) -> None:
        self._places: dict[tuple[tuple[int, ...], bytes], int] = {}

    def add(self, tensor: Tensor) -> int:
        """Number of a constant, which is a new one unless there is the same already."""
        values = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        key = tuple(values.shape), values.astype("<f4").tobytes()
        return self._places.setdefault(key, len(self._places))

    @property
    def shapes(self) -> list[list[int]]:
        """Shapes of all, in their order."""
        return [list(shape) for shape, _ in self._places]

    def to_bytes(self) -> bytes:
        """All numbers, little-endian, one constant after the other."""
        return b"".join(content for _, content in self._places)


def trace(
    function: Callable[..., Mapping[str, Tensor]],
    inputs: Mapping[str, Sequence[float]],
    constants: Constants,
) -> dict[str, Any]:
    """The operations of a function at one point.

    Parameters
    ----------
    function : callable
        Takes a tensor of shape (1, n), float64, for each of `inputs`, and gives tensors by name. Which
        operations it takes must not depend on the values.
    inputs : mapping of str to sequence of float, shape (n,)
        A point to trace it at.
    constants : Constants
        Those of the function are added.

    Returns
    -------
    dict
        ``inputs`` (names), ``steps`` and ``outputs`` (from names to numbers of steps). A step is the name
        of an operation and its arguments, among which ``{"step": i}`` is the result of another step
        (the inputs are the first ones) and ``{"constant": i}`` a constant.

    Raises
    ------
    ValueError
        If the function takes an operation that pages do not know.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    names: list[str] = []

    def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
        found = function(*tensors)
        names[:] = found
        return tuple(found.values())

    # Gradients keep the emulator from leaving torch for numpy.
    point = [
        torch.tensor([list(x)], dtype=torch.float64, requires_grad=True) for x in inputs.values()
    ]
    graph = make_fx(of_tensors)(*point)
    return _Lowered(graph, constants).program(list(inputs), names)


class _Lowered:
    """A graph of torch, with constant parts computed and the other ones written down."""

    def __init__(self, graph: Any, constants: Constants) -> None:
        self._module, self._constants = graph, constants
        self._steps: list[list[Any]] = []
        # Of each node: a constant, or the number of its step.
        self._known: dict[Any, Any] = {}
        self._n_inputs = 0

    def program(self, inputs: list[str], names: list[str]) -> dict[str, Any]:
        outputs: Any = None
        for node in self._module.graph.nodes:
            if node.op == "placeholder":
                self._known[node] = _Step(self._n_inputs)
                self._n_inputs += 1
            elif node.op == "get_attr":
                self._known[node] = getattr(self._module, node.target)
            elif node.op == "output":
                outputs = [self._known[x] for x in node.args[0]]
            else:
                self._known[node] = self._call(node)
        return self._pruned(inputs, dict(zip(names, outputs, strict=True)))

    def _call(self, node: Any) -> Any:
        arguments = torch.fx.map_arg(node.args, lambda x: self._known[x])
        options = torch.fx.map_arg(node.kwargs, lambda x: self._known[x])
        if not any(self._known_steps([arguments, options])):
            return node.target(*arguments, **options)
        if node.target.__name__ == "getitem":
            return self._add("getitem", arguments, {})
        name = str(node.target).removeprefix("aten.").removesuffix(".default")
        name = _SAME.get(name, name)
        if name in _NOTHING:
            return arguments[0]
        if name not in OPERATIONS:
            raise ValueError(
                f"The page cannot compute what these weights need: it does not know torch's operation "
                f"{name}, only {', '.join(sorted(OPERATIONS))}."
            )
        return self._add(name, arguments, options)

    def _known_steps(self, x: Any) -> list[_Step]:
        if isinstance(x, _Step):
            return [x]
        if isinstance(x, Mapping):
            return self._known_steps(list(x.values()))
        if isinstance(x, (list, tuple)):
            return [step for each in x for step in self._known_steps(each)]
        return []

    def _add(self, name: str, arguments: Any, options: Any) -> _Step:
        self._steps.append([name, list(arguments), dict(options)])
        return _Step(self._n_inputs + len(self._steps) - 1)

    def _pruned(self, inputs: list[str], outputs: dict[str, Any]) -> dict[str, Any]:
        """The program without steps that no output needs."""
        needed: set[int] = set()
        todo = [step.place for step in self._known_steps(outputs)]
        while todo:
            place = todo.pop()
            if place in needed:
                continue
            needed.add(place)
            if place >= self._n_inputs:
                todo += [s.place for s in self._known_steps(self._steps[place - self._n_inputs])]
        kept = [*range(self._n_inputs), *sorted(i for i in needed if i >= self._n_inputs)]
        new = {old: i for i, old in enumerate(kept)}

        def written(x: Any) -> Any:
            if isinstance(x, _Step):
                return {"step": new[x.place]}
            if isinstance(x, Tensor):
                if x.dtype in (torch.int64, torch.int32):
                    return x.tolist()
                return {"constant": self._constants.add(x)}
            if isinstance(x, (list, tuple)):
                return [written(each) for each in x]
            if x is None or isinstance(x, (int, float)):
                # JSON has no infinity: slices that go to the end end at this number.
                return x
            raise ValueError(f"a page has no number like {x!r}")

        steps = [self._steps[i - self._n_inputs] for i in kept[self._n_inputs :]]
        return {
            "inputs": inputs,
            "steps": [
                [name, written(a), {k: written(x) for k, x in o.items()}] for name, a, o in steps
            ],
            "outputs": {name: written(x) for name, x in outputs.items()},
        }


class _Step:
    """The result of a step, by its place."""

    def __init__(self, place: int) -> None:
        self.place = place
