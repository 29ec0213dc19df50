"""AlpaSim's video-model service by a gRPC client over loopback: six views in chunks, its cameras and maps, and what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dwm.cli.main import app, outcome
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.geometry import quaternion_from_rotation, rotation_z

grpc = pytest.importorskip("grpc", reason="dwm[alpasim] is not installed")
from dwm.drive.alpasim import video_model_pb2  # noqa: E402
from dwm.drive.alpasim.cameras import read_cameras  # noqa: E402
from dwm.drive.alpasim.rollout import Settings  # noqa: E402
from dwm.drive.alpasim.service import MOST_BYTES, MOST_SESSIONS, SERVICE, VideoModel, bound, start  # noqa: E402
from dwm.drive.alpasim.world_map import read_map  # noqa: E402

m: Any = video_model_pb2
SIZE = (64, 36)
# As AlpaSim's vehicles have them: name, azimuth in degrees.
CAMERAS = (
    ("front", 0.0),
    ("cross_left", 60.0),
    ("cross_right", -60.0),
    ("rear_left", 130.0),
    ("rear_right", -130.0),
    ("rear", 180.0),
)
START = 1_700_000_000_000_000
STEP = 250_000


class Client:
    def __init__(self, port: int) -> None:
        options = [("grpc.max_receive_message_length", MOST_BYTES), ("grpc.max_send_message_length", 2 * MOST_BYTES)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)

    def __call__(self, name: str, request: Any, answer: Any) -> Any:
        path, pack = f"/{SERVICE}/{name}", lambda one: one.SerializeToString()
        return self.channel.unary_unary(path, pack, answer.FromString)(request, timeout=60)

    def session(self, **values: Any) -> str:
        return self("start_session", request(**values), m.SessionId).session_id

    def chunk(self, session: str, first: int, count: int, actors: Any = ()) -> Any:
        asked = m.ChunkRequest(session_id=m.SessionId(session_id=session), rig_trajectory=drive(first, count))
        asked.dynamic_state.actors.extend(actors)
        return self("render_video_chunk", asked, m.Chunk)


@pytest.fixture(scope="module")
def client(pipe: DrivingPipeline) -> Iterator[Client]:
    server, port = bound("127.0.0.1", 0)
    start(server, VideoModel(pipe, Settings(), "0.0"))
    yield Client(port)
    server.stop(0)


@pytest.fixture
def no_sessions(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests left open makes room."""
    monkeypatch.setattr("dwm.drive.alpasim.service.IDLE", -1.0)


def pose(yaw: float = 0.0, place: tuple[float, float, float] = (0, 0, 0)) -> Any:
    w, x, y, z = quaternion_from_rotation(rotation_z(np.deg2rad(yaw)))
    return m.Pose(vec=m.Vector(x=place[0], y=place[1], z=place[2]), quat=m.Quaternion(w=w, x=x, y=y, z=z))


def drive(first: int, count: int) -> Any:
    """Two metres a frame along x."""
    poses = [
        m.TimedPose(pose=pose(place=(2.0 * i, 0, 0)), timestamp_us=START + STEP * i)
        for i in range(first, first + count)
    ]
    return m.Trajectory(poses=poses)


def fisheye(name: str, size: tuple[int, int] = SIZE, half_angle: float = 60.0) -> Any:
    """An equidistant lens that sees `half_angle` degrees to each side."""
    focal = size[0] / 2 / np.deg2rad(half_angle)
    lens = m.FTheta(
        principal_point_x=size[0] / 2,
        principal_point_y=size[1] / 2,
        reference_poly=2,
        angle_to_pixeldist_poly=[0, focal],
    )
    return m.Camera(logical_id=name, resolution_w=size[0], resolution_h=size[1], ftheta_param=lens)


def straight(name: str, size: tuple[int, int] = SIZE) -> Any:
    lens = m.Pinhole(principal_point_x=size[0] / 2, principal_point_y=size[1] / 2, focal_length_x=40, focal_length_y=40)
    return m.Camera(logical_id=name, resolution_w=size[0], resolution_h=size[1], opencv_pinhole_param=lens)


def picture(color: tuple[int, int, int] = (90, 90, 90)) -> Any:
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, color).save(buffer, "JPEG")
    return m.Picture(data=buffer.getvalue(), format=2)


def request(seed: int = 3, layout: bool = False, draw: bool = True, **changes: Any) -> Any:
    values = {
        "camera_specs": [straight(name) if name == "front" else fisheye(name) for name, _ in CAMERAS],
        "rig_to_camera": [pose(azimuth, (1.0, 0.0, 1.5)) for _, azimuth in CAMERAS],
        "initial_frames": [picture() for _ in CAMERAS],
        "text_prompt": m.Words(positive="night rain"),
        "debug_options": m.Debug(return_hdmap_frames=layout, skip_video_generation=not draw),
        "static_world_map": m.WorldMap(hdmap_parquets=street()),
        "random_seed": seed,
    }
    return m.SessionRequest(**{**values, **changes})


def street(**tables: Any) -> bytes:
    """A straight street of four metres' lanes along x, as ClipGT writes it."""

    def line(y: float) -> list[dict[str, float]]:
        return [{"x": float(x), "y": y, "z": 0.0} for x in range(-40, 120, 10)]

    rows: dict[str, list[dict[str, Any]]] = {
        "lane": [{"left_rail": line(2.0), "right_rail": line(-2.0), "left_edge_styles": ["SOLID"]}],
        "road_boundary": [{"location": line(6.0), "category": "curb"}, {"location": line(-2.0), "category": "curb"}],
        "crosswalk": [{"location": [{"x": x, "y": y, "z": 0.0} for x, y in ((30.0, -2.0), (34.0, -2.0), (34.0, 6.0))]}],
        "traffic_sign": [{"category": "stop"}],
    }  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in rows.items():
            table = pa.table(
                {"key": [{"clip_id": "a"}] * len(contents), name: contents, "version": [1] * len(contents)}
            )
            part = io.BytesIO()
            pq.write_table(table, part)
            archive.writestr(f"a.{name}.parquet", tables.get(name, part.getvalue()))
    return buffer.getvalue()


def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def pixels(one: Any) -> np.ndarray:
    assert one.format == 2
    return np.asarray(Image.open(io.BytesIO(one.data)))


def test_six_views_come_in_chunks_that_go_on(client: Client, no_sessions: None) -> None:
    assert client("get_version", m.Empty(), m.Version).version_id.startswith("dwm ")
    runs = []
    for seed in (3, 3, 4):
        session = client.session(seed=seed)
        runs.append([client.chunk(session, first, count) for first, count in ((1, 2), (3, 5))])
        client("close_session", m.CloseRequest(session_id=session), m.Empty)
    for chunk, count in zip(runs[0], (2, 5), strict=True):
        assert [one.camera_logical_id for one in chunk.camera_outputs] == [name for name, _ in CAMERAS]
        for one in chunk.camera_outputs:
            assert len(one.rgb_frames) == count and not one.hdmap_condition_frames
            assert {pixels(frame).shape for frame in one.rgb_frames} == {(SIZE[1], SIZE[0], 3)}
    assert runs[0] == runs[1] != runs[2]
    assert refused(lambda: client.chunk(session, 13, 5))[0] == "NOT_FOUND"


def test_the_layout_is_what_the_cameras_see(client: Client, no_sessions: None) -> None:
    """A car 15 m ahead and left of the axis: in the picture of the front camera, on its left, and in no other behind."""
    session = client.session(layout=True, draw=False, static_world_map=m.WorldMap())
    track = m.Trajectory(poses=[m.TimedPose(pose=pose(place=(17.0, 4.0, 1.0)), timestamp_us=START + STEP)])
    car = m.Actor(class_id=1, bbox_dims=m.Size(size_x=4, size_y=2, size_z=2), trajectory=track)
    chunk = client.chunk(session, 1, 2, [car])
    seen = {
        one.camera_logical_id: [pixels(frame)[..., 2] > 100 for frame in one.hdmap_condition_frames]
        for one in chunk.camera_outputs
    }
    assert not any(one.rgb_frames for one in chunk.camera_outputs)
    columns = np.flatnonzero(seen["front"][0].any(0))
    assert SIZE[0] * 0.2 < columns.mean() < SIZE[0] * 0.5
    assert not any(seen[name][0].any() for name in ("rear_left", "rear_right", "rear"))
    assert not seen["front"][1].any(), "it was there for the first frame only"


def test_a_lens_and_its_pinhole_show_the_same_things() -> None:
    size = (320, 180)
    (camera,) = read_cameras([fisheye("a", size)], [pose()])
    x = np.linspace(0, 255, size[0])
    scene = np.tile(x[None, :, None], (size[1], 1, 3)).astype(np.uint8)
    again = camera.straightened(camera.shown(scene))
    middle = np.s_[60:120, 30:-30]
    assert np.abs(again[middle].astype(int) - scene[middle]).max() <= 3
    # A mark at 45° to the right: halfway out and a half of the lens, at the tangent of 45° in the pinhole.
    mark = np.zeros((size[1], size[0], 3), np.uint8)
    column = round(size[0] / 2 + 45 / 60 * size[0] / 2)
    mark[:, column - 2 : column + 2] = 255
    at = np.flatnonzero(camera.straightened(mark)[90, :, 0] > 128).mean()
    assert at == pytest.approx(size[0] / 2 + camera.intrinsics[0, 0], abs=2)


def test_a_map_is_read_by_its_tables() -> None:
    area = read_map(street())
    assert area is not None and {name: len(shapes) for name, shapes in area.layers.items()} == {
        "lane": 1, "drivable_area": 2, "ped_crossing": 1,
    }  # fmt: skip
    assert area.layers["lane"][0].area == pytest.approx(4 * 150) and area.layers["ped_crossing"][0].has_z
    assert read_map(b"") is None
    damaged = bytearray(street())
    damaged[60:90] = b"\xff" * 30
    for bad in (b"PK", bytes(damaged), street(lane=b"PAR1"), street(crosswalk=b"")):
        with pytest.raises(DwmError, match="static_world_map"):
            read_map(bad)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"camera_specs": []}, "0 cameras"),
        ({"rig_to_camera": []}, "0 poses for 6 cameras"),
        ({"camera_specs": [straight("a")] * 6}, "logical_id of its own"),
        ({"camera_specs": [straight("a", (9000, 10)), *(straight(str(i)) for i in range(5))]}, "9000x10"),
        ({"camera_specs": [m.Camera(logical_id="a", resolution_w=64, resolution_h=64)], "rig_to_camera": [pose()]}, "other lenses"),
        ({"camera_specs": [straight("a"), straight("b")], "rig_to_camera": [pose()] * 2}, "2 views"),
        ({"rig_to_camera": [m.Pose()] * 6}, "rig_to_camera: a pose is no pose"),
        ({"initial_frames": [picture()]}, "1 for 6 cameras"),
        ({"initial_frames": [m.Picture(data=b"\xff\xd8nothing", format=2)] * 6}, "cannot be read"),
        ({"initial_frames": [m.Picture(data=b"", format=5)] * 6}, "format 5"),
        ({"static_world_map": m.WorldMap(hdmap_parquets=b"no zip")}, "no whole zip"),
        ({"text_prompt": m.Words(positive="x" * 10_000)}, "2000 letters"),
    ],
)  # fmt: skip
def test_a_session_that_cannot_be_drawn_is_refused(client: Client, no_sessions: None, changes: Any, words: str) -> None:
    status, details = refused(lambda: client.session(**changes))
    assert status == "INVALID_ARGUMENT" and words in details and "\n" not in details


def test_a_chunk_that_cannot_be_drawn_is_refused_and_the_session_goes_on(client: Client, no_sessions: None) -> None:
    session = client.session()
    actor = m.Actor(class_id=1, bbox_dims=m.Size(), trajectory=drive(1, 1))
    for count, actors, words in (
        (0, (), "0 poses"),
        (200, (), "200 poses"),
        (2, [actor], "bbox_dims"),
        (2, [m.Actor()] * 2001, "2001 actors"),
    ):
        status, details = refused(lambda count=count, actors=actors: client.chunk(session, 1, count, actors))
        assert status == "INVALID_ARGUMENT" and words in details
    assert len(client.chunk(session, 1, 2).camera_outputs) == 6
    status, details = refused(lambda: client.chunk(session, 1, 2))
    assert status == "INVALID_ARGUMENT" and "drawn already" in details
    assert (
        refused(
            lambda: client(
                "start_session",
                request(static_world_map=m.WorldMap(hdmap_parquets=b"x" * (MOST_BYTES + 1))),
                m.SessionId,
            )
        )[0]
        == "RESOURCE_EXHAUSTED"
    )


def test_sessions_are_counted(client: Client, no_sessions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    client.session()
    monkeypatch.setattr("dwm.drive.alpasim.service.IDLE", 600.0)

    def fill() -> None:
        for _ in range(MOST_SESSIONS):
            client.session()

    assert refused(fill) == ("RESOURCE_EXHAUSTED", f"{MOST_SESSIONS} sessions are open; close one")


def test_a_port_that_is_taken_is_one_line_for_alpasim_too(client: Client) -> None:
    _, port = bound("127.0.0.1", 0)
    with pytest.raises(DwmError, match=rf"--port {port} on 127.0.0.1"):
        bound("127.0.0.1", port)


def test_what_alpasim_says_itself_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def dwm(*arguments: str) -> int:
        return outcome(
            lambda: app(args=["drive", "--serve-alpasim", *arguments], prog_name="dwm", standalone_mode=False)
        )

    assert dwm("--frames", "9") == 2 and "leave out --frames" in capsys.readouterr().err
    assert dwm("--town", "3") == 1 and "leave out --town" in capsys.readouterr().err
