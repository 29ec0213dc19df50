"""Draws a town scene with Panda3D's software pipe: no window, no GPU, one renderer per process.

It never decides what stands where: it is given meshes and poses. All in the scene's local frame.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from dwm.town.drawing import panda as core
from dwm.town.drawing.mesh import Mesh, Part

NEAR, FAR = 0.3, 700.0
SKY_SORT, MIRROR_SORT, GROUND_SORT = 0, 5, 10

CAMERA_FROM_PANDA = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])
"""Panda's cameras look along y with z up; ours look along z with y down."""


def supersampling(size: tuple[int, int]) -> int:
    """How many times larger a picture is drawn before it is averaged down."""
    return 3 if size[0] <= 256 else 2 if size[0] <= 640 else 1


class Renderer:
    """The process's connection to the software pipe: one off-screen buffer per picture size."""

    _current: Renderer | None = None

    def __init__(self) -> None:
        core.loadPrcFileData("", "load-display p3tinydisplay\naudio-library-name null\nnotify-level error\n")
        self.process = os.getpid()
        # In the order of the scene, not of addresses in memory: surfaces of equal depth then look the same on every run.
        core.CullBinManager.getGlobalPtr().setBinType("opaque", core.CullBinManager.BTUnsorted)
        self.engine = core.GraphicsEngine()
        self.pipe = core.GraphicsPipeSelection.getGlobalPtr().makePipe("TinyOffscreenGraphicsPipe")
        if self.pipe is None:
            raise RuntimeError("Panda3D's software pipe p3tinydisplay is missing from this installation")
        self.targets: dict[tuple[int, int], Target] = {}

    @classmethod
    def get(cls) -> Renderer:
        """This process's renderer; a forked child makes its own."""
        if cls._current is None or cls._current.process != os.getpid():
            cls._current = cls()
        return cls._current

    def target(self, size: tuple[int, int]) -> Target:
        if size not in self.targets:
            self.targets[size] = Target(self, size)
        return self.targets[size]


class Target:
    """A buffer of one size with its camera."""

    def __init__(self, renderer: Renderer, size: tuple[int, int]) -> None:
        self.renderer, self.size, self.factor = renderer, size, supersampling(size)
        width, height = size[0] * self.factor, size[1] * self.factor
        properties = core.FrameBufferProperties()
        properties.setRgbColor(True)
        properties.setDepthBits(24)
        window = core.WindowProperties.size(width, height)
        flags = core.GraphicsPipe.BFRefuseWindow
        self.buffer = renderer.engine.makeOutput(renderer.pipe, f"{size}", 0, properties, window, flags)
        self.texture = core.Texture()
        self.buffer.addRenderTexture(self.texture, core.GraphicsOutput.RTMCopyRam)
        self.buffer.setClearColorActive(False)
        self.buffer.setActive(False)
        self.lens = core.MatrixLens()
        self.camera = core.NodePath(core.Camera("camera", self.lens))
        region = self.buffer.makeDisplayRegion()
        region.setCamera(self.camera)
        region.setClearDepthActive(True)

    def draw(
        self, root: core.NodePath, intrinsics: Float[np.ndarray, "3 3"], local_from_camera: Float[np.ndarray, "4 4"]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """One picture; `intrinsics` are in pixels of this target's size."""
        self.lens.setUserMat(_matrix(projection(intrinsics, self.size)))
        self.camera.reparentTo(root)
        self.camera.setMat(_matrix((local_from_camera @ CAMERA_FROM_PANDA).T))
        self.buffer.setActive(True)
        self.renderer.engine.renderFrame()
        self.buffer.setActive(False)
        width, height = self.size[0] * self.factor, self.size[1] * self.factor
        pixels = np.frombuffer(self.texture.getRamImageAs("RGB"), np.uint8).reshape(height, width, 3)[::-1]
        if self.factor == 1:
            return np.ascontiguousarray(pixels)
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(self.factor))


def projection(intrinsics: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> Float[np.ndarray, "4 4"]:
    """Panda's matrix (row vectors, x right, y forward, z up) of a pinhole with any principal point."""
    width, height = size
    (fx, _, cx), (_, fy, cy) = intrinsics[0], intrinsics[1]
    depth, offset = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    return np.array(
        [
            [2 * fx / width, 0, 0, 0],
            [2 * cx / width - 1, 1 - 2 * cy / height, depth, 1],
            [0, 2 * fy / height, 0, 0],
            [0, 0, offset, 0],
        ]
    )


@dataclass(frozen=True)
class Placed:
    """A thing to draw: which model, where its box's middle is, its yaw."""

    model: str
    position: Float[np.ndarray, "3"]
    yaw: float


class SceneGraph:
    """One scene's nodes. Static parts are uploaded once; things, sky and lights move with every picture."""

    def __init__(
        self,
        static: Sequence[Part],
        models: Mapping[str, Sequence[Part]],
        textures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]],
        sky: Mesh,
        veils: Sequence[Mesh],
        ego_light: Mesh | None,
        mirrored: bool,
    ) -> None:
        self.shown: object = None
        self.root = core.NodePath("scene")
        self.root.setTwoSided(True)
        self.textures = {name: _texture(pixels) for name, pixels in textures.items()}
        self.around = self.root.attachNewNode("around")
        dome = self.around.attachNewNode(_geometry(sky))
        _painted(dome, SKY_SORT)
        self._veils(veils)
        self.world = self.root.attachNewNode("world")
        self._static(static)
        self.models = {name: [(self._node(part), part.ground) for part in parts] for name, parts in models.items()}
        self.things = self.world.attachNewNode("things")
        self.shadows = self.root.attachNewNode("shadows")
        _painted(self.shadows, GROUND_SORT + 20)
        self.light = self.root.attachNewNode("light")
        if ego_light is not None:
            self.light.attachNewNode(_geometry(ego_light))
            self.light.setTransparency(core.TransparencyAttrib.MAlpha)
            _painted(self.light, GROUND_SORT + 19)
        if mirrored:
            self._mirror()

    def _veils(self, veils: Sequence[Mesh]) -> None:
        for index, veil in enumerate(veils):
            node = self.around.attachNewNode(_geometry(veil))
            node.setTransparency(core.TransparencyAttrib.MAlpha)
            node.setDepthWrite(False)
            node.setBin("fixed", index)

    def _static(self, parts: Sequence[Part]) -> None:
        order = GROUND_SORT
        for part in parts:
            if part.ground:
                node = self.root.attachNewNode(self._node(part))
                node.setTransparency(core.TransparencyAttrib.MAlpha)
                _painted(node, order)
                order += 1
            else:
                self._textured(self.world.attachNewNode(self._node(part)), part)

    def _textured(self, node: core.NodePath, part: Part) -> None:
        if part.texture:
            node.setTexture(self.textures[part.texture])

    def _mirror(self) -> None:
        """The world upside down below a translucent road: what a wet road reflects."""
        mirror = self.root.attachNewNode("mirror")
        mirror.setScale(1, 1, -1)
        mirror.setBin("background", MIRROR_SORT)
        self.world.instanceTo(mirror)

    @staticmethod
    def _node(part: Part) -> core.GeomNode:
        return _geometry(part.mesh)

    def put(self, things: Sequence[Placed], local_from_ego: Float[np.ndarray, "4 4"]) -> None:
        """Puts the traffic and the car's own lights where they are at one instant."""
        self.things.node().removeAllChildren()
        self.shadows.node().removeAllChildren()
        for thing in things:
            for geometry, ground in self.models[thing.model]:
                holder = (self.shadows if ground else self.things).attachNewNode("thing")
                holder.setPosHpr(*map(float, thing.position), float(np.degrees(thing.yaw)), 0, 0)
                node = holder.attachNewNode(geometry)
                if ground:
                    node.setTransparency(core.TransparencyAttrib.MAlpha)
        self.light.setMat(_matrix(local_from_ego.T))

    def draw(
        self, size: tuple[int, int], intrinsics: Float[np.ndarray, "3 3"], local_from_camera: Float[np.ndarray, "4 4"]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """One picture of `size` (width, height); `intrinsics` are in its pixels."""
        x, y = local_from_camera[:2, 3]
        dx, dy = local_from_camera[:2, 2]
        self.around.setPosHpr(float(x), float(y), 0.0, float(np.degrees(np.arctan2(dy, dx))) - 90.0, 0, 0)
        return Renderer.get().target(size).draw(self.root, intrinsics, local_from_camera)


def _painted(node: core.NodePath, order: int) -> None:
    """Draws a node before all depth-tested things, in order, without touching the depths."""
    node.setBin("background", order)
    node.setDepthTest(False)
    node.setDepthWrite(False)


def _matrix(rows: Float[np.ndarray, "4 4"]) -> core.LMatrix4f:
    return core.LMatrix4f(*np.asarray(rows, np.float64).ravel().tolist())


def _texture(pixels: UInt8[np.ndarray, "h w 3"]) -> core.Texture:
    height, width = pixels.shape[:2]
    texture = core.Texture()
    texture.setup2dTexture(width, height, core.Texture.TUnsignedByte, core.Texture.FRgb)
    texture.setRamImageAs(np.ascontiguousarray(pixels[::-1]).tobytes(), "RGB")
    texture.setMinfilter(core.SamplerState.FTLinearMipmapLinear)
    texture.setMagfilter(core.SamplerState.FTLinear)
    texture.setWrapU(core.SamplerState.WMRepeat)
    texture.setWrapV(core.SamplerState.WMRepeat)
    return texture


VERTEX = np.dtype([("position", "<f4", 3), ("colour", "u1", 4), ("uv", "<f4", 2)])


def _geometry(mesh: Mesh) -> core.GeomNode:
    """The mesh as a Panda node with vertex colours and texture coordinates."""
    array = core.GeomVertexArrayFormat()
    array.addColumn("vertex", 3, core.Geom.NTFloat32, core.Geom.CPoint)
    array.addColumn("color", 4, core.Geom.NTUint8, core.Geom.CColor)
    array.addColumn("texcoord", 2, core.Geom.NTFloat32, core.Geom.CTexcoord)
    layout = core.GeomVertexFormat()
    layout.addArray(array)
    data = core.GeomVertexData("mesh", core.GeomVertexFormat.registerFormat(layout), core.Geom.UHStatic)
    rows = np.zeros(len(mesh.vertices), VERTEX)
    rows["position"], rows["uv"] = mesh.vertices, mesh.uv
    rows["colour"] = np.round(np.clip(mesh.colours, 0, 1) * 255)
    data.uncleanSetNumRows(len(rows))
    memoryview(data.modifyArray(0)).cast("B")[:] = rows.tobytes()
    triangles = core.GeomTriangles(core.Geom.UHStatic)
    triangles.setIndexType(core.Geom.NTUint32)
    indices = triangles.modifyVertices()
    indices.uncleanSetNumRows(mesh.triangles.size)
    memoryview(indices).cast("B")[:] = mesh.triangles.astype("<u4").tobytes()
    geom = core.Geom(data)
    geom.addPrimitive(triangles)
    node = core.GeomNode("mesh")
    node.addGeom(geom)
    node.setAttrib(core.ColorAttrib.makeVertex())
    return node
