"""Values as JSON and bytes, for an answer from a process that nobody has to trust.

Numbers, texts, containers, arrays of numbers and records go through; all else is refused. A record
is one of the classes that `carried` knows: no other is looked up, and nothing is imported or called
because an answer says so.
"""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

import numpy as np

from h5scene import errors
from h5scene.errors import CorruptDataError, H5SceneError, InternalError
from h5scene.objects import ObjectRecord, without_repetition
from h5scene.record import Bounds, DimSpec, FieldDescription, FieldRecord, TensorRecord

C = TypeVar("C", bound=type)

_LENGTHS = struct.Struct("<QQ")
_DTYPE = re.compile(r"[<>|][biufc][0-9]{1,2}", re.ASCII)
_MAX_TEXT_BYTES = 1 << 30
_NONE = type(None)
_classes: dict[str, type] = {}
_types: dict[str, dict[str, Any]] = {}


def carried(**types: Any) -> Callable[[C], C]:
    """Lets instances of a dataclass go through. To be used as a decorator.

    Args:
        types: Of its fields, each a class or several; `[cls]` for a tuple of instances of one. What
            arrives with others is refused.
    """

    def known(cls: C) -> C:
        _classes[cls.__name__] = cls
        _types[cls.__name__] = types
        return cls

    return known


carried(name=str, type=str, labels=([str], _NONE))(DimSpec)
carried(dims=[DimSpec], data=np.ndarray)(TensorRecord)
carried(
    lower=TensorRecord, upper=TensorRecord, center=(TensorRecord, _NONE), size=(TensorRecord, _NONE)
)(Bounds)
carried(field_type=str, dims=[DimSpec], bounds=(Bounds, _NONE), boundary=dict, attrs=dict)(
    FieldDescription
)
carried(kind=str, attrs=dict, parts=dict)(ObjectRecord)
carried(
    description=FieldDescription,
    values=np.ndarray,
    geometry=(ObjectRecord, _NONE),
    structure=(ObjectRecord, _NONE),
)(FieldRecord)


def send(stream: IO[bytes], value: Any) -> None:
    """Writes a value.

    Raises:
        InternalError: Something in it cannot go through.
    """
    _send(stream, {"value": value})


def send_error(stream: IO[bytes], error: BaseException) -> None:
    """Writes an error; one that is not of this package as an `InternalError`."""
    is_ours = isinstance(error, H5SceneError)
    name = type(error).__name__ if is_ours else "InternalError"
    about = {
        "error": name if hasattr(errors, name) else "CorruptDataError",
        "message": str(error) if is_ours else f"{type(error).__name__}: {error}",
        **{key: getattr(error, key, None) for key in ("file", "location", "errno")},
    }
    _send(stream, about)


class NoAnswerError(Exception):
    """What came is no answer: nothing that the same process says later can be understood."""


def receive(stream: Any, *, most_bytes: int) -> Any:
    """Returns the value that was sent, or raises the error.

    Args:
        stream: Readable.
        most_bytes: What more than this is not taken.

    Raises:
        EOFError: The other end is closed.
        NoAnswerError: It is no answer, or too long.
        H5SceneError: The error that was sent.
    """
    try:
        text_bytes, data_bytes = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
        if text_bytes > min(_MAX_TEXT_BYTES, most_bytes) or data_bytes > most_bytes:
            raise NoAnswerError(f"it has {text_bytes + data_bytes:,} bytes")
        about = json.loads(_read(stream, text_bytes))
        buffers = [_read(stream, count) for count in _counts(about["buffers"], data_bytes)]
        if "error" not in about:
            return _decoded(about["value"], buffers)
        found = _error(about)
    except (OSError, EOFError, NoAnswerError):
        raise
    except Exception as error:  # whatever Python makes of lies
        raise NoAnswerError(repr(error)) from error
    raise found


def _send(stream: IO[bytes], about: dict[str, Any]) -> None:
    buffers: list[Any] = []
    tree = {key: _encoded(value, buffers) for key, value in about.items()}
    tree["buffers"] = [buffer.nbytes for buffer in buffers]
    text = json.dumps(tree).encode()
    stream.write(_LENGTHS.pack(len(text), sum(buffer.nbytes for buffer in buffers)))
    stream.write(text)
    for buffer in buffers:
        stream.write(buffer)
    stream.flush()


def _encoded(value: Any, buffers: list[Any]) -> Any:
    """Returns a tree for JSON, in which every object has a short key that says what it is."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value if not isinstance(value, np.generic) else _encoded(value.item(), buffers)
    if isinstance(value, (bytes, bytearray)):
        buffers.append(memoryview(value))
        return {"bytes": len(buffers) - 1}
    if isinstance(value, (np.ndarray, np.generic)):
        return _encoded_array(np.asarray(value), buffers, is_scalar=isinstance(value, np.generic))
    if isinstance(value, Mapping):
        pairs = ((_encoded(key, buffers), _encoded(one, buffers)) for key, one in value.items())
        return {"dict": list(pairs)}
    if isinstance(value, (list, tuple)):
        name = "list" if isinstance(value, list) else "tuple"
        return {name: [_encoded(one, buffers) for one in value]}
    if _classes.get(type(value).__name__) is type(value):
        record: Any = value
        fields = (field.name for field in dataclasses.fields(record) if field.init)
        content = {name: _encoded(getattr(value, name), buffers) for name in fields}
        return {"class": type(value).__name__, "fields": content}
    raise InternalError(f"{type(value).__name__} cannot be sent out of a sandbox")


def _encoded_array(array: np.ndarray[Any, Any], buffers: list[Any], *, is_scalar: bool) -> Any:
    if _DTYPE.fullmatch(array.dtype.str) is None:
        raise InternalError(f"values of {array.dtype} cannot be sent out of a sandbox")
    stored = np.ascontiguousarray(without_repetition(array)).reshape(-1)
    buffers.append(stored.view(np.uint8).data if stored.size else memoryview(b""))
    return {
        "array": len(buffers) - 1,
        "dtype": array.dtype.str,
        "stored": without_repetition(array).shape,
        "shape": array.shape,
        "is_scalar": is_scalar,
    }


def _decoded(tree: Any, buffers: list[Any]) -> Any:
    """Returns the value that `_encoded` made into a tree."""
    if isinstance(tree, list):
        raise NoAnswerError("a bare list")
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return _decoded_array(tree, buffers)
    if "bytes" in tree:
        return bytes(buffers[tree["bytes"]])
    if "dict" in tree:
        return {_decoded(key, buffers): _decoded(one, buffers) for key, one in tree["dict"]}
    if "list" in tree:
        return [_decoded(one, buffers) for one in tree["list"]]
    if "tuple" in tree:
        return tuple(_decoded(one, buffers) for one in tree["tuple"])
    fields = {name: _decoded(one, buffers) for name, one in tree["fields"].items()}
    types = _types[tree["class"]]
    if fields.keys() != types.keys():
        raise NoAnswerError(f"a {tree['class']} of {sorted(fields)}")
    for name, value in fields.items():
        if not _is_of(value, types[name]):
            raise NoAnswerError(f"a {tree['class']} whose {name} is {type(value).__name__}")
    return _classes[tree["class"]](**fields)


def _is_of(value: Any, wanted: Any) -> bool:
    """Whether a value is what `carried` was told."""
    if isinstance(wanted, tuple):
        return any(_is_of(value, one) for one in wanted)
    if isinstance(wanted, list):
        return isinstance(value, tuple) and all(isinstance(one, wanted[0]) for one in value)
    return isinstance(value, wanted)


def _decoded_array(tree: dict[str, Any], buffers: list[Any]) -> Any:
    text = tree["dtype"]
    if _DTYPE.fullmatch(text) is None:
        raise NoAnswerError(f"values of {text!r}")
    array = np.frombuffer(buffers[tree["array"]], np.dtype(text)).reshape(tree["stored"])
    if tree["is_scalar"]:
        return array[()]
    if tree["shape"] == tree["stored"]:
        return array
    return np.broadcast_to(array, tree["shape"])


def _error(about: dict[str, Any]) -> H5SceneError:
    """Returns the error that an answer says."""
    cls = getattr(errors, str(about["error"]), None)
    if not (isinstance(cls, type) and issubclass(cls, H5SceneError)):
        cls = CorruptDataError
    error = cls(str(about["message"]))
    for key in ("file", "location"):
        setattr(error, key, None if about[key] is None else str(about[key]))
    if isinstance(error, errors.StorageError) and isinstance(about["errno"], int):
        error.errno = about["errno"]
    return error


def _counts(counts: list[Any], total_bytes: int) -> list[int]:
    """Returns the lengths of buffers, which must be as long together as was said."""
    if not all(type(count) is int and count >= 0 for count in counts):
        raise NoAnswerError("impossible lengths")
    if sum(counts) != total_bytes:
        raise NoAnswerError("lengths that contradict each other")
    return counts


def _read(stream: Any, byte_count: int) -> bytearray:
    """Returns so many bytes, which can be changed: arrays of a caller are his own."""
    data = bytearray(byte_count)
    view = memoryview(data)
    done = 0
    while done < byte_count:
        count = stream.readinto(view[done:])
        if not count:
            raise EOFError
        done += count
    return data
