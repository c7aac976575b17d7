"""Parts of Protocol Buffers messages of others, parsed without their packages."""

from collections.abc import Mapping
from typing import Any, TypeAlias

# message -> field -> its number, what it is, and whether there are many. Other fields are skipped.
MessageFields: TypeAlias = Mapping[str, Mapping[str, tuple[int, str, bool]]]


def message_class(fields: MessageFields) -> Any:
    """The class of the first of some messages.

    Args:
      fields: of each message; what a field is, is a scalar type of proto2 or the name of another message.

    >>> point = message_class({"Point": {"x": (1, "int32", False)}})
    >>> point.FromString(bytes([0x08, 0x05])).x
    5
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="latentlake/parts.proto", package="parts", syntax="proto2")
    for message, members in fields.items():
        _add(file.message_type.add(name=message), members, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"parts.{next(iter(fields))}"))


def _add(message: Any, members: Mapping[str, tuple[int, str, bool]], fields: MessageFields) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    for name, (number, kind, many) in members.items():
        field = message.field.add(
            name=name, number=number, label=Field.LABEL_REPEATED if many else Field.LABEL_OPTIONAL
        )
        if kind in fields:
            field.type, field.type_name = Field.TYPE_MESSAGE, f".parts.{kind}"
        else:
            field.type = getattr(Field, f"TYPE_{kind.upper()}")
