"""Properties of a scene as a user sees them: a dict that changes the file, tensors as PhiML's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from phiml.math import Tensor

from h5scene.errors import InvalidInputError
from h5scene.phi_fields import tensor_from_record, tensor_record_from_tensor
from h5scene.record import TensorRecord

if TYPE_CHECKING:
    from h5scene.scene_values import SceneValues


class SceneProperties(dict[str, Any]):
    """Properties by name; setting, updating and deleting entries changes the file.

    A list or dict *in* it is a copy: changing that changes nothing else.
    """

    def __init__(self, scene: SceneValues, properties: Mapping[str, Any]):
        super().__init__(properties)
        self._scene = scene

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, be it in another process, is a plain dict.
        return dict, (dict(self),)

    def __setitem__(self, name: str, value: Any) -> None:
        self._scene.put_property(name, value)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._scene.remove_property(name)
        super().__delitem__(name)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Sets these properties, all of them or none."""
        update = dict(*args, **kwargs)
        self._scene.put_properties(update)
        super().update(update)

    def __ior__(self, other: Any) -> SceneProperties:  # type: ignore[misc,override]  # overloads
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Returns the property, which is set first where it does not exist."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Removes the property and returns its value."""
        if name not in self and default:
            return default[0]
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Removes the last property and returns its name and value."""
        if not self:
            raise KeyError("the scene has no properties")
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        """Removes all properties."""
        self._scene.properties = {}
        super().clear()


def stored_property(name: str, value: Any, sliced: Callable[[Tensor], Tensor]) -> Any:
    """Returns a property as `SceneFile` takes it, for one scene of a batch.

    What `sliced` leaves of a tensor becomes a number where it has no dims, else a record.

    Raises:
        InvalidInputError: The value holds itself, or a tensor that is not made of numbers.
        BatchMismatchError: A tensor does not match the batch.
    """
    try:
        return _stored_value(value, sliced)
    except RecursionError:
        raise InvalidInputError(
            f"property {name!r} is nested too deeply, or holds itself; JSON cannot hold it"
        ) from None
    except InvalidInputError as error:
        raise type(error)(f"property {name!r}: {error}") from error


def _stored_value(value: Any, sliced: Callable[[Tensor], Tensor]) -> Any:
    """Returns one property, or a part of it."""
    if isinstance(value, Tensor):
        tensor = sliced(value)
        if tensor.rank > 0:
            return tensor_record_from_tensor(tensor)
        # A tensor of Python objects has no numbers.
        return tensor.native() if tensor.dtype.kind is object else tensor.numpy().item()
    if isinstance(value, Mapping):
        return {name: _stored_value(item, sliced) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stored_value(item, sliced) for item in value]
    return value


def public_value(value: Any) -> Any:
    """Returns a property as a user gets it, from what `SceneFile` gives."""
    if isinstance(value, TensorRecord):
        return tensor_from_record(value, convert_to_backend=False)
    if isinstance(value, dict):
        return {name: public_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [public_value(item) for item in value]
    return value
