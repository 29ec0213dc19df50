"""What a driving network is conditioned on, as options. Field names of published configs where they have one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dwm.options import Options


class ConditionOptions(Options):
    """Which conditions a network was trained with and how they are written; part of its weights' card."""

    text: bool = Field(True, description="captions through the text encoders")
    boxes: bool = Field(True, description="pictures of 3-D boxes")
    map: bool = Field(True, description="pictures of the map")
    uncondition_image_color: float = Field(
        0.0, ge=0, le=1, description="grey level of a layout picture that is not given"
    )
    condition_on_all_frames: bool = Field(
        True, description="layout for every frame; otherwise for the first one, the others as if not given"
    )
    added_time_ids: Literal["fps_camera_transforms", "fps_camera_transforms_action"] | None = Field(
        None, description="numbers told for each picture: frame rate and camera, and speed and steering with _action"
    )
    camera_intrinsic_embedding_indices: tuple[int, ...] = Field(
        (0, 4, 2, 5), description="entries of the flattened 3×3 intrinsics that are told (fx, fy, cx, cy)"
    )
    camera_intrinsic_denom_embedding_indices: tuple[int, ...] = Field(
        # fx is divided by the height: published weights were trained so.
        (1, 1, 0, 1),
        description="what each is divided by: 0 the picture's width, 1 its height",
    )
    camera_transform_embedding_indices: tuple[int, ...] = Field(
        (2, 6, 10, 3, 7, 11), description="entries of the flattened 4×4 ego-from-camera (view direction, position)"
    )
    explicit_view_modeling: bool = Field(False, description="cameras as matrices, from which the network makes rays")
    disable_crossview: bool = Field(False, description="leave the blocks across views out")
    disable_temporal: bool = Field(False, description="leave the blocks across frames out")

    @property
    def layout_channels(self) -> int:
        return 3 * (self.boxes + self.map)

    @property
    def action(self) -> bool:
        """Whether speed and steering are told."""
        return (self.added_time_ids or "").endswith("_action")

    @property
    def id_count(self) -> int:
        """How many numbers are told for each picture."""
        if self.added_time_ids is None:
            return 0
        camera = len(self.camera_intrinsic_embedding_indices) + len(self.camera_transform_embedding_indices)
        return 1 + camera + 2 * self.action

    @model_validator(mode="after")
    def _pairs(self) -> ConditionOptions:
        numbers, denominators = self.camera_intrinsic_embedding_indices, self.camera_intrinsic_denom_embedding_indices
        if len(numbers) != len(denominators):
            raise ValueError(
                f"camera_intrinsic_embedding_indices has {len(numbers)} entries, its denominators {len(denominators)}"
            )
        return self
