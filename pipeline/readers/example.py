"""tf.train.Example: in bulk by TensorFlow's own op, and one by one where a reason is wanted.

The bulk op decides what is good, also of a single record, so that a record's fate never depends on its neighbours.
Protobuf says which records of a refused batch are worth asking about, and what is wrong with them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from pipeline.records import Array, Fault, Reason, Stage

BYTES, FLOAT, INT64 = "bytes", "float", "int64"  # the three kinds of a feature, named after their lists
NO_EXAMPLE = (Reason.INVALID_RECORD, "the record is not a tf.train.Example")
_DTYPES = {BYTES: "string", FLOAT: "float32", INT64: "int64"}


class Ragged(NamedTuple):
    """One feature over a batch: the values of record ``i`` are ``values[splits[i]:splits[i + 1]]``."""

    values: Array  # object (bytes), float32 or int64
    splits: Array  # int32 [n + 1]

    @property
    def counts(self) -> Array:
        """Number of values of each record, ``[n]``; 0 where the feature is missing or empty."""
        return np.diff(self.splits)


def parse(examples: Sequence[bytes], kinds: Mapping[str, str]) -> tuple[dict[str, Ragged], dict[int, Fault]]:
    """Features of serialized Examples as columns, and the records that have none because they are bad.

    Args:
      examples: serialized protos, ``[n]``.
      kinds: name of a feature -> BYTES, FLOAT or INT64.

    Returns:
      One ``Ragged`` of ``n`` records for each feature, empty at the bad ones; position of a bad one -> its fault.
    """
    bulk = _bulk(tuple(kinds.items()))
    columns = bulk(examples)
    if columns is not None:
        return columns, {}
    faults = _faults(bulk, examples, kinds)
    columns = bulk([b"" if i in faults else example for i, example in enumerate(examples)])
    if columns is None:
        raise AssertionError("a batch of Examples that are good one by one was refused")
    return columns, faults


def message(example: bytes) -> Any:
    """One record as a protobuf message; None if it is no Example."""
    from google.protobuf.message import DecodeError

    try:
        return example_class().FromString(example)
    except DecodeError:
        return None


def features(example: bytes) -> dict[str, tuple[str, Sequence[Any]]] | None:
    """Every feature of one record: name -> kind and values, empty ones left out; None if it is no Example."""
    parsed = message(example)
    if parsed is None:
        return None
    lists = {name: f.WhichOneof("kind") for name, f in parsed.features.feature.items()}
    found = {name: getattr(parsed.features.feature[name], kind).value for name, kind in lists.items() if kind}
    return {name: (lists[name].removesuffix("_list"), values) for name, values in found.items() if len(values)}


Bulk = Callable[[Sequence[bytes]], dict[str, Ragged] | None]


def _faults(bulk: Bulk, examples: Sequence[bytes], kinds: Mapping[str, str]) -> dict[int, Fault]:
    wrong = {i: detail for i, example in enumerate(examples) if (detail := _wrong(example, kinds))}
    refused = [i for i in wrong if bulk([examples[i]]) is None]
    # Protobuf passes over some wire types that the op refuses; halving finds what is left.
    refused += _refused(bulk, [b"" if i in wrong else example for i, example in enumerate(examples)], 0)
    return {i: _fault(examples[i], *wrong.get(i, NO_EXAMPLE)) for i in sorted(refused)}


def _refused(bulk: Bulk, examples: Sequence[bytes], start: int) -> list[int]:
    if bulk(examples) is not None:
        return []
    if len(examples) == 1:
        return [start]
    half = len(examples) // 2
    return _refused(bulk, examples[:half], start) + _refused(bulk, examples[half:], start + half)


def _wrong(example: bytes, kinds: Mapping[str, str]) -> tuple[Reason, str] | None:
    found = features(example)
    if found is None:
        return NO_EXAMPLE
    other = [(name, found[name][0], kind) for name, kind in kinds.items() if name in found and found[name][0] != kind]
    detail = "; ".join(f"feature {name!r} holds {has}, not {kind}" for name, has, kind in other)
    return (Reason.WRONG_TYPE, detail) if other else None


def _fault(example: bytes, reason: Reason, detail: str) -> Fault:
    return Fault(stage=Stage.READ, reason=reason, detail=detail, data=example)


@cache
def _bulk(kinds: tuple[tuple[str, str], ...]) -> Bulk:
    import tensorflow as tf

    none, names = tf.constant([], tf.string), tf.constant([name for name, _ in kinds])
    types = [tf.as_dtype(_DTYPES[kind]) for _, kind in kinds]

    def parsed(examples: Sequence[bytes]) -> dict[str, Ragged] | None:
        try:
            # Called directly it costs a third of tf.io.parse_example, and half of a traced function.
            out = tf.raw_ops.ParseExampleV2(
                serialized=tf.constant(examples, tf.string),
                names=none,
                sparse_keys=none,
                dense_keys=none,
                ragged_keys=names,
                dense_defaults=[],
                num_sparse=0,
                sparse_types=[],
                ragged_value_types=types,
                ragged_split_types=[tf.int32] * len(types),
                dense_shapes=[],
            )
        # The op's message quotes the record, and bytes that are no text break the message itself.
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
            return None
        pairs = zip(out.ragged_values, out.ragged_row_splits, strict=True)
        return {n: Ragged(v.numpy(), s.numpy()) for (n, _), (v, s) in zip(kinds, pairs, strict=True)}

    return parsed


@cache
def example_class() -> Any:
    """The class of tensorflow.Example (tensorflow/core/example/*.proto), made without importing TensorFlow."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    for name, scalar in (("BytesList", "BYTES"), ("FloatList", "FLOAT"), ("Int64List", "INT64")):
        _add(file.message_type.add(name=name), "value", 1, field.LABEL_REPEATED, scalar)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), 1):
        kind = name.title().replace("_", "")
        _add(feature, name, number, field.LABEL_OPTIONAL, kind).oneof_index = 0
    features = file.message_type.add(name="Features")
    _add(features, "feature", 1, field.LABEL_REPEATED, "Features.FeatureEntry")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add(entry, "key", 1, field.LABEL_OPTIONAL, "STRING")
    _add(entry, "value", 2, field.LABEL_OPTIONAL, "Feature")
    _add(file.message_type.add(name="Example"), "features", 1, field.LABEL_OPTIONAL, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add(message: Any, name: str, number: int, label: int, kind: str) -> Any:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    field = message.field.add(name=name, number=number, label=label)
    if kind.isupper():
        field.type = getattr(Field, f"TYPE_{kind}")
    else:
        field.type, field.type_name = Field.TYPE_MESSAGE, f".tensorflow.{kind}"
    return field
