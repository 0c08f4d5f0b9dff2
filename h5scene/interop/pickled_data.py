"""Pickled data, read as data: nothing is imported, called, or looked up.

PhiFlow keeps dicts, tuples and strings in object arrays, which NumPy pickles. A pickle is a program
for a small machine that may call anything. This module runs the part of that machine which builds
plain values, and knows NumPy's arrays by their names alone; all else is refused.

The four names that genuine files contain are those of `_ARRAY_MAKERS`, `numpy.ndarray` and
`numpy.dtype`.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import numpy as np

from h5scene.errors import CorruptDataError, UnsafeFileError

MAX_PICKLE_BYTES = 1 << 24
MAX_TEXT_BYTES = 4096
_MAX_STEPS = 200_000
_MAX_VALUES = 100_000
_MAX_ARRAY_BYTES = 1 << 26
_MAX_DEPTH = 40

_ARRAY_MAKERS = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_NDARRAY = "numpy ndarray"
_DTYPE = "numpy dtype"
_NAMES = frozenset({*_ARRAY_MAKERS, _NDARRAY, _DTYPE})

_NUMBERS = frozenset(
    ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
)
_OBJECTS = frozenset({"O", "O4", "O8"})

_PUSHED = frozenset(
    [
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINBYTES",
        "SHORT_BINBYTES",
    ]
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """A name from the pickle, which stands for nothing."""

    text: str


@dataclass
class _Dtype:
    """A NumPy dtype that is being described."""

    code: str
    byte_order: str | None = None


@dataclass
class _Array:
    """A NumPy array that is being described: its shape, order, dtype and content."""

    state: tuple[Any, ...] | None = None


class _Mark:
    """Where a sequence of items begins on the stack."""


def read_pickled(data: bytes) -> Any:
    """Returns what a pickle describes: None, numbers, strings, tuples, lists, dicts and arrays.

    Raises:
        UnsafeFileError: It asks for anything else, or for too much.
        CorruptDataError: It is no pickle, or ends early.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise UnsafeFileError(f"{len(data)} bytes of pickled data, where PhiFlow has a few hundred")
    try:
        return _Finisher().finished(_Machine().run(data))
    except UnsafeFileError:
        raise
    except RecursionError:
        _refuse("values nested too deeply")
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError) as error:
        raise CorruptDataError(f"the pickled data is damaged: {error}") from error


def _refuse(what: str) -> NoReturn:
    """Raises for something that plain data does not need."""
    raise UnsafeFileError(
        f"its pickled data contains {what}, which plain data does not need and could run code; "
        "nothing of it was executed"
    )


class _Machine:
    """The stack and memo of a pickle, and the operations that build plain values."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Returns the value at the end, arrays in it still unfinished."""
        for steps, (operation, argument, _) in enumerate(pickletools.genops(data)):
            name = operation.name
            if steps > _MAX_STEPS:
                _refuse(f"more than {_MAX_STEPS} operations")
            if name == "STOP":
                value = self._pop()
                if self._stack:
                    _refuse("several values")
                return value
            if name in _PUSHED:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _TUPLES:
                items = [self._pop() for _ in range(_TUPLES[name])]
                self._stack.append(tuple(reversed(items)))
            elif name not in ("PROTO", "FRAME"):
                method = getattr(self, f"_do_{name.lower()}", None)
                if method is None:
                    _refuse(f"the operation {name}")
                method(argument)
        raise CorruptDataError("the pickled data ends early")

    # --- the stack and the memo -------------------------------------------------------------------

    def _pop(self) -> Any:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            _refuse("operations that do not fit together")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        if not self._stack or type(self._stack[-1]) is not kind:
            _refuse("operations that do not fit together")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while self._stack:
            item = self._stack.pop()
            if isinstance(item, _Mark):
                return items[::-1]
            items.append(item)
        _refuse("operations that do not fit together")

    def _do_mark(self, _: Any) -> None:
        self._stack.append(_Mark())

    def _do_memoize(self, _: Any) -> None:
        self._remember(len(self._memo))

    def _do_binput(self, place: int) -> None:
        self._remember(place)

    _do_long_binput = _do_binput

    def _remember(self, place: int) -> None:
        value = self._pop()
        self._stack.append(value)
        self._memo[place] = value

    def _do_binget(self, place: int) -> None:
        self._stack.append(self._memo[place])

    _do_long_binget = _do_binget

    # --- containers -------------------------------------------------------------------------------

    def _do_empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _do_empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _do_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _do_append(self, _: Any) -> None:
        item = self._pop()
        self._top(list).append(item)

    def _do_appends(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._top(list).extend(items)

    def _do_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._set_items(self._pop_to_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                _refuse(f"a dict with a key of type {type(key).__name__}")
            target[key] = value

    # --- NumPy's arrays ---------------------------------------------------------------------------

    def _do_global(self, name: str) -> None:
        if name not in _NAMES:
            _refuse(f"the name {name.replace(' ', '.')!r:.80}")
        self._stack.append(_Name(name))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            _refuse("a name that is no text")
        self._do_global(f"{module} {name}")

    def _do_reduce(self, _: Any) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, _Name) or type(arguments) is not tuple or len(arguments) != 3:
            _refuse("a call")
        if name.text in _ARRAY_MAKERS and arguments == (_Name(_NDARRAY), (0,), b"b"):
            self._stack.append(_Array())
        elif name.text == _DTYPE and type(arguments[0]) is str and arguments[1:] == (False, True):
            self._stack.append(_Dtype(arguments[0]))
        else:
            _refuse(f"a call of {name.text.replace(' ', '.')}")

    def _do_build(self, _: Any) -> None:
        state = self._pop()
        target = self._pop()
        self._stack.append(target)
        if isinstance(target, _Dtype) and target.byte_order is None:
            target.byte_order = _byte_order(target.code, state)
        elif isinstance(target, _Array) and target.state is None and type(state) is tuple:
            target.state = state
        else:
            _refuse("an object with a state")


class _Finisher:
    """Makes arrays of their descriptions, and counts what it makes.

    A value that occurs a thousand times, in values that each occur a thousand times, is written in
    a few bytes.
    """

    def __init__(self) -> None:
        self._values = 0
        self._array_bytes = 0

    def finished(self, value: Any, depth: int = 0) -> Any:
        """Returns the value with its arrays."""
        self._values += 1
        if self._values > _MAX_VALUES or depth > _MAX_DEPTH:
            _refuse("too many values, or values nested too deeply")
        if isinstance(value, _Array):
            return self._array(value, depth)
        if isinstance(value, (_Name, _Dtype)):
            _refuse("a name or a dtype in the place of a value")
        if type(value) is dict:
            return {key: self.finished(item, depth + 1) for key, item in value.items()}
        if type(value) is list:
            return [self.finished(item, depth + 1) for item in value]
        if type(value) is tuple:
            return tuple(self.finished(item, depth + 1) for item in value)
        return value

    def _array(self, array: _Array, depth: int) -> Any:
        """Returns an array, of numbers, strings or objects."""
        if array.state is None or len(array.state) != 5:
            _refuse("an array without content")
        version, shape, dtype, is_fortran, content = array.state
        sizes_are_whole = type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)
        if version != 1 or type(is_fortran) is not bool or not isinstance(dtype, _Dtype):
            _refuse("an array that is described in another way than NumPy does")
        if not sizes_are_whole or len(shape) > 16 or dtype.byte_order is None:
            _refuse("an array that is described in another way than NumPy does")
        count, order = prod(shape), "F" if is_fortran else "C"
        if dtype.code in _OBJECTS:
            if type(content) is not list or len(content) != count:
                raise CorruptDataError(f"an array of {shape} objects has others than these")
            flat = np.empty(count, object)
            for i, item in enumerate(content):
                flat[i] = self.finished(item, depth + 1)
            return flat.reshape(shape, order=order)  # type: ignore[call-overload]  # C or F
        plain = np.dtype(dtype.byte_order.strip("|=") + dtype.code)
        self._array_bytes += count * plain.itemsize
        if self._array_bytes > _MAX_ARRAY_BYTES:
            _refuse("arrays that are too large")
        if type(content) is not bytes or len(content) != count * plain.itemsize:
            raise CorruptDataError(f"an array of {shape} numbers has others than these")
        # A copy: the memory of `bytes` is read-only.
        return np.frombuffer(content, plain).reshape(shape, order=order).copy(order="K")  # type: ignore[call-overload]


def _byte_order(code: str, state: Any) -> str:
    """Returns the byte order that the state of a dtype says; all else in it must be as usual."""
    if type(state) is not tuple or len(state) != 8 or state[2:5] != (None, None, None):
        _refuse("a dtype with parts")
    version, byte_order, *_, item_bytes, alignment, flags = state
    if version != 3 or byte_order not in ("<", ">", "|", "="):
        _refuse("a dtype that is described in another way than NumPy does")
    usual = (-1, -1, 63) if code in _OBJECTS else (-1, -1, 0)
    if code in _NUMBERS or code in _OBJECTS:
        fits = (item_bytes, alignment, flags) == usual
    else:
        digits = code[1:]
        fits = code[:1] in ("U", "S") and digits.isascii() and digits.isdecimal()
        fits = fits and len(digits) <= 4
        fits = fits and 0 < int(digits) <= MAX_TEXT_BYTES and flags in (0, 8)
    if not fits:
        _refuse(f"the dtype {code!r:.20}")
    return str(byte_order)
