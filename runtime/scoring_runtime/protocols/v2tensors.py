"""What the Open Inference Protocol means by names, the same over HTTP and over gRPC: inputs, outputs, metadata.

Inputs. One tensor is the rows. Several are the columns of a table, or the tensors of a model with several inputs, each
by its name. A column may come as [n] or as [n, 1]; it gets the form that the model's signature has.

Outputs. What a model names keeps its names. The rest is named for the method that gave it, predict or predict_proba,
with a number behind it where a method gives several. A request that names methods as its outputs gets those methods.
"""

from __future__ import annotations

from collections.abc import Sequence

from scoring_runtime.errors import InputInvalid
from scoring_runtime.protocols.call import Call, Described
from scoring_runtime.protocols.datatypes import datatype_of
from scoring_runtime.tensors import Array, Tensors, TensorSpec

Metadata = dict[str, str | list[int]]


def call_of(
    inputs: Sequence[tuple[str, Array]], model: Described, method: str = "", requested: Sequence[str] = ()
) -> Call:
    """Return what a request asks for: its named inputs, `parameters.method`, and the outputs it wants.

    Raises InputInvalid when the inputs do not belong together or the method is unknown.
    """
    specs = {spec.name: spec for spec in model.signature.inputs}
    _check(inputs)
    arrays = tuple(_as_declared(name, array, specs) for name, array in inputs)
    names = tuple(name for name, _ in inputs)
    alone = len(arrays) == 1 and (len(specs) < 2 or names[0] not in specs)
    if alone and len(specs) == 1:
        arrays = (_with_axes(arrays[0], next(iter(specs.values())).shape),)
    method, also = methods_of(model, method, requested)
    return Call(Tensors(arrays, None if alone else names), method, also)


def methods_of(model: Described, method: str, requested: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the method to call and the further ones. Raises InputInvalid for an unknown method."""
    if method and method not in model.methods:
        raise InputInvalid(f"this model has no method {method!r}; it has {', '.join(model.methods)}")
    wanted = [name for name in dict.fromkeys(requested) if name in model.methods and name != method]
    if not wanted:
        return method, ()
    if method:
        return method, tuple(wanted)
    if any(name not in model.methods for name in requested) and model.methods[0] not in wanted:
        # An output that is not named for a method is one of the default's.
        wanted.insert(0, model.methods[0])
    return wanted[0], tuple(wanted[1:])


def merged(methods: Sequence[str], results: Sequence[Tensors]) -> Tensors:
    """Return the results of several methods for the same rows as one, each array named."""
    names = [name for method, result in zip(methods, results, strict=True) for name in _own_names(result, method)]
    return Tensors(tuple(array for result in results for array in result.arrays), tuple(names))


def outputs_of(
    result: Tensors, model: Described, method: str = "", requested: Sequence[str] = ()
) -> list[tuple[str, Array]]:
    """Return the outputs by name: all, or those that were requested, in that order.

    `method` is what gave the result, empty for the default. Raises InputInvalid for an output that there is not.
    """
    names = output_names(result, model, method)
    if not requested:
        return list(zip(names, result.arrays, strict=True))
    found = dict(zip(names, result.arrays, strict=True))
    if len(names) == 1:
        # A model that names its only output can be asked for it by the method too.
        found.setdefault(method or model.methods[0], result.arrays[0])
    unknown = [name for name in requested if name not in found]
    if unknown:
        raise InputInvalid(f"the model has no output {', '.join(unknown)}; it has {', '.join(names)}")
    return [(name, found[name]) for name in requested]


def output_names(result: Tensors, model: Described, method: str) -> tuple[str, ...]:
    """Return a name for each array of a result."""
    if result.names is not None:
        return result.names
    method = method or model.methods[0]
    specs = model.signature.outputs
    if method == model.methods[0] and len(specs) == len(result.arrays) and len(model.methods) == 1:
        return tuple(spec.name for spec in specs)
    return _own_names(result, method)


def metadata_of(model: Described) -> tuple[list[Metadata], list[Metadata]]:
    """Return the inputs and the outputs as the protocol's metadata has them, as far as the model knows them.

    Where it has several methods, each is an output, and the first of them is the one that is given without asking.
    """
    outputs = list(model.signature.outputs)
    if len(model.methods) > 1:
        if len(outputs) == 1:
            outputs = [TensorSpec(model.methods[0], outputs[0].dtype, outputs[0].shape)]
        # A method that gives several arrays has an output for each, with a number behind its name.
        known = {spec.name for spec in outputs} | {spec.name.rpartition("_")[0] for spec in outputs}
        first = 1 if outputs else 0
        outputs += [TensorSpec(method) for method in model.methods[first:] if method not in known]
    return [_described(spec) for spec in model.signature.inputs], [_described(spec) for spec in outputs]


def _described(spec: TensorSpec) -> Metadata:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": list(spec.shape) or [-1]}


def _own_names(result: Tensors, method: str) -> tuple[str, ...]:
    if result.names is not None:
        return result.names
    if len(result.arrays) == 1:
        return (method,)
    return tuple(f"{method}_{number}" for number in range(len(result.arrays)))


def _check(inputs: Sequence[tuple[str, Array]]) -> None:
    if not inputs:
        raise InputInvalid('there are no "inputs"; send at least one')
    first_name, first = inputs[0]
    if len(inputs) == 1:
        return
    if len({name for name, _ in inputs}) != len(inputs):
        raise InputInvalid("two inputs have the same name")
    for name, array in inputs:
        if len(array) != len(first):
            raise InputInvalid(
                f"input {first_name} has {len(first)} rows and input {name} has {len(array)}; the first axis is the row"
            )


def _as_declared(name: str, array: Array, specs: dict[str, TensorSpec]) -> Array:
    return _with_axes(array, specs[name].shape) if name in specs else array


def _with_axes(array: Array, shape: tuple[int, ...]) -> Array:
    """Return [n, 1] as [n], or [n] as [n, 1], where that is the form that the model takes."""
    if len(shape) == 1 and array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if shape[1:] in ((1,), (-1,)) and array.ndim == 1:
        return array[:, None]
    return array
