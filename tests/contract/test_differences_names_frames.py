"""Known differences: field names and frames, each shown on both sides."""

from __future__ import annotations

import pytest
from phiml.math import batch, wrap

from h5scene.errors import FieldNotFoundError, InvalidInputError, InvalidNameError
from tests.contract.fields import constant, value_of
from tests.contract.implementations import H5Scene, PhiFlow, same_contents
from tests.contract.known_differences import shows

# --- field names ----------------------------------------------------------------------------------


@shows("field-name-case")
class TestFieldNameCase:
    names = ("Velocity", "Fluid.Pressure", "Δp", "My Field")

    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(dict.fromkeys(self.names, constant(1)))
        assert scene.fieldnames == ("deltap", "fluid_pressure", "my-field", "velocity")

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write(dict.fromkeys(self.names, constant(1)))
        assert scene.fieldnames == ("Deltap", "Fluid_Pressure", "My-Field", "Velocity")
        assert "sim_000000/Velocity/000000" in h5scene.contents()
        assert value_of(scene.read("velocity")) == 1
        assert value_of(scene.read("VELOCITY")) == 1


@shows("case-makes-two-fields")
class TestCaseMakesTwoFields:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(Velocity=constant(1), velocity=constant(2))
        assert scene.fieldnames == ("velocity",)
        assert value_of(scene.read("Velocity")) == 2

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write(Velocity=constant(1), velocity=constant(2))
        assert scene.fieldnames == ("Velocity", "velocity")
        assert value_of(scene.read("Velocity")) == 1
        assert value_of(scene.read("velocity")) == 2
        with pytest.raises(FieldNotFoundError, match=r"VELOCITY.*'Velocity', 'velocity'"):
            scene.read("VELOCITY")


@shows("same-stored-name")
class TestSameStoredName:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write({"a b": constant(1), "a-b": constant(2)})
        assert scene.fieldnames == ("a-b",)
        assert value_of(scene.read("a b")) == 2

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write({"a b": constant(1)}, frame=0)
        before = h5scene.contents()
        with pytest.raises(InvalidNameError, match=r"'a-b'.*'a b'"):
            scene.write({"a-b": constant(2)}, frame=1)
        assert same_contents(before, h5scene.contents())
        # Another object, which has not seen the first name being written.
        with pytest.raises(InvalidNameError, match=r"'a  b'.*'a b'"):
            h5scene.Scene.at(scene.path).write({"a  b": constant(2)}, frame=0)
        assert same_contents(before, h5scene.contents())

    def test_h5scene_in_one_call(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        before = h5scene.contents()
        with pytest.raises(InvalidNameError, match=r"'fluid\.v'.*'fluid_v'.*'fluid_v'"):
            scene.write({"fluid.v": constant(1), "fluid_v": constant(2)})
        assert same_contents(before, h5scene.contents())


@shows("empty-name")
class TestEmptyName:
    @pytest.mark.parametrize("name", ["", "_", "!?", "."])
    def test_phi(self, phi: PhiFlow, name: str) -> None:
        scene = phi.create()
        scene.write({name: constant(1)})
        assert scene.fieldnames == ("",)

    @pytest.mark.parametrize("name", ["", "_", "!?", ".", " "])
    def test_h5scene(self, h5scene: H5Scene, name: str) -> None:
        scene = h5scene.create()
        before = h5scene.contents()
        with pytest.raises(
            InvalidNameError, match="no letters or digits; give the field another name"
        ):
            scene.write({"fine": constant(1), name: constant(1)})
        assert same_contents(before, h5scene.contents())


@shows("reserved-name")
class TestReservedName:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(__x=constant(1))
        assert scene.fieldnames == ("_x",)

    @pytest.mark.parametrize("name", ["__x", "__files", "._._x", " _files", "!_curves"])
    def test_h5scene(self, h5scene: H5Scene, name: str) -> None:
        scene = h5scene.create()
        before = h5scene.contents()
        with pytest.raises(InvalidNameError, match="reserved; give the field another name"):
            scene.write({"fine": constant(1), name: constant(1)})
        assert same_contents(before, h5scene.contents())


@shows("composed-letters")
class TestComposedLetters:
    composed, in_two_parts = "\u00e9nergie", "e\u0301nergie"

    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write({self.in_two_parts: constant(1)})
        assert scene.fieldnames == ("energie",)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write({self.in_two_parts: constant(1)})
        assert scene.fieldnames == (self.composed,)
        assert value_of(scene.read(self.composed)) == 1


# --- frames ---------------------------------------------------------------------------------------


@shows("frames-by-prefix")
class TestFramesByPrefix:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(smoke=constant(1), smoke2=constant(1), frame=0)
        scene.write(smoke2=constant(1), frame=1)
        assert scene.complete_frames == (0, 1)
        with pytest.raises(FileNotFoundError):
            scene.read("smoke", frame=1)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write(smoke=constant(1), smoke2=constant(1), frame=0)
        scene.write(smoke2=constant(1), frame=1)
        assert scene.complete_frames == (0,)
        assert scene.frames == (0, 1)


@shows("frames-above-999999")
class TestFramesAbove999999:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(f=constant(1), frame=1_000_000)
        assert scene.fieldnames == ("f_",)
        assert scene.frames == (0,)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        frames = (5, 999_999, 1_000_000, 20_000_000, 10**18 - 1)
        for frame in reversed(frames):
            scene.write(f=constant(frame % 97), frame=frame)
        assert scene.fieldnames == ("f",)
        assert scene.frames == frames
        assert [value_of(scene.read("f", frame=frame)) for frame in frames] == [
            frame % 97 for frame in frames
        ]
        assert "sim_000000/f/1000000" in h5scene.contents()
        with pytest.raises(InvalidInputError, match="at most 18 digits"):
            scene.write(f=constant(1), frame=10**18)
        assert scene.frames == frames


@shows("negative-frames")
class TestNegativeFrames:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(f=constant(1), frame=-1)
        scene.write(f=constant(2), frame=5)
        assert scene.frames == (-1, 5)
        assert value_of(scene.read("f", frame=-1)) == 1

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        before = h5scene.contents()
        with pytest.raises(InvalidInputError, match="frame -1 is negative"):
            scene.write(f=constant(1), frame=-1)
        with pytest.raises(InvalidInputError, match="frame -7 is negative"):
            scene.write_field(constant(1), "f", -7)
        assert same_contents(before, h5scene.contents())
        scene.write(f=constant(2), frame=3)
        scene.write(f=constant(1), frame=5)
        assert value_of(scene.read("f", frame=-1)) == 1
        assert value_of(scene.read("f", frame=-2)) == 2


@shows("frames-as-tensors")
class TestFramesAsTensors:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(smoke=constant(1), frame=wrap(13))
        with pytest.raises(ValueError, match="oke_13"):
            _ = scene.frames

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write(smoke=constant(1), frame=wrap(13))
        assert scene.frames == (13,)
        assert value_of(scene.read("smoke", frame=wrap(13))) == 1
        for frame in (wrap(1.5), wrap([1, 2], batch("b"))):
            with pytest.raises(InvalidInputError, match="whole number"):
                scene.write(smoke=constant(1), frame=frame)
        assert scene.frames == (13,)


@shows("frames-of-batches")
class TestFramesOfBatches:
    def test_phi(self, phi: PhiFlow) -> None:
        scenes = phi.create(batch=2)
        scenes.write(a=constant(1))
        for name in ("frames", "complete_frames", "fieldnames"):
            with pytest.raises(AssertionError, match="not defined for scene batches"):
                getattr(scenes, name)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(batch=2)
        assert (scenes.frames, scenes.complete_frames, scenes.fieldnames) == ((), (), ())
        scenes.write(a=constant(1), frame=0)
        scenes.write(a=constant(1), frame=3)
        scenes.batch[0].write(a=constant(1), frame=12)
        scenes.batch[1].write(b=constant(1), frame=3)
        scenes.batch[1].write(b=constant(1), frame=4)
        assert scenes.frames == (0, 3, 4, 12)
        assert scenes.fieldnames == ("a", "b")
        # Scene 0 is complete at 0, 3 and 12; scene 1, which has two fields, only at 3.
        assert scenes.complete_frames == (3,)
        assert scenes.batch[0].complete_frames == (0, 3, 12)
