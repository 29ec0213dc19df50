"""Every class name that OpenDWM's published files mention, to compare with. Nothing here is ever imported."""

from __future__ import annotations

DIT = "dwm.models.crossview_temporal_dit.DiTCrossviewTemporalConditionModel"
UNET = "dwm.models.crossview_temporal_unet.UNetCrossviewTemporalConditionModel"
LIDAR_PIPELINES = {
    "dwm.pipelines.lidar_diffusion.LidarDiffusionPipeline": "diffusion",
    "dwm.pipelines.lidar_maskgit.MaskGITPipeline": "maskgit",
    "dwm.pipelines.lidar_vae.LidarVAE": "autoencoder",
    "dwm.pipelines.lidar_vqvae.LidarCodebook": "codebook",
}
NAMES = frozenset(
    {
        *LIDAR_PIPELINES,
        "dwm.pipelines.ctsd.CrossviewTemporalSD",
        "dwm.pipelines.ctsd.StreamingCrossviewTemporalSD",
        "dwm.pipelines.unimlvg.Unimlvg",
        "torch.eye",
        "torch.zeros",
        "torch.reshape",
        "torch.repeat_interleave",
        "torch.bfloat16",
        "torch.float32",
        "botocore.config.Config",
        "carla.Client",
        "diffusers.models.attention.BasicTransformerBlock",
        "diffusers.models.resnet.ResnetBlock2D",
        "diffusers.models.resnet.TemporalResnetBlock",
        "diffusers.quantizers.quantization_config.BitsAndBytesConfig",
        "dwm.datasets.carla_streaming.StreamingDataAdapter",
        "dwm.datasets.common.Copy",
        "dwm.datasets.opendv.MotionDataset",
        "dwm.fs.s3fs.ForkableS3FileSystem",
        "dwm.metrics.fvd.FrechetVideoDistance",
        *(
            f"dwm.models.crossview_temporal.{name}"
            for name in ("TransformerModel", "ResBlock", "TemporalBasicTransformerBlock")
        ),
        "torchmetrics.image.fid.FrechetInceptionDistance",
        "torchvision.transforms.ColorJitter",
        "transformers.models.t5.modeling_t5.T5Block",
        "get_class",
        "json.loads",
        "torch.tensor",
        "torch.bool",
        "torch.float16",
        "torch.optim.AdamW",
        "torch.utils.data.ConcatDataset",
        "fsspec.implementations.local.LocalFileSystem",
        *(f"diffusers.{name}" for name in ("DDIMScheduler", "DDPMScheduler", "FlowMatchEulerDiscreteScheduler")),
        "diffusers.DPMSolverMultistepScheduler",
        "diffusers.AutoencoderKL",
        "diffusers.AutoencoderKLCogVideoX",
        *(
            f"dwm.schedulers.temporal_independent.{name}"
            for name in ("DDIMScheduler", "DDPMScheduler", "FlowMatchEulerDiscreteScheduler")
        ),
        "diffusers.models.attention.JointTransformerBlock",
        "dwm.common.get_state",
        *(f"dwm.datasets.{name}.MotionDataset" for name in ("argoverse", "kitti360", "nuscenes", "waymo")),
        *(
            f"dwm.datasets.common.{name}"
            for name in ("CollateFnIgnoring", "DatasetAdapter", "FilterPoints", "TakePoints")
        ),
        "dwm.datasets.preview.PreviewDataset",
        *(
            f"dwm.fs.{name}"
            for name in ("ctar.CombinedTarFileSystem", "czip.CombinedZipFileSystem", "dirfs.DirFileSystem")
        ),
        *(f"dwm.metrics.pc_metrics.PointCloud{name}" for name in ("Chamfer", "JSD", "MMD")),
        "dwm.metrics.voxel_metrics.VoxelIoU",
        "dwm.models.adapters.ImageAdapter",
        "dwm.models.crossview_temporal.VTSelfAttentionBlock",
        "dwm.models.crossview_temporal_dit.DiTCrossviewTemporalConditionModel",
        *(
            f"dwm.models.crossview_temporal_unet.{name}CrossviewTemporal"
            for name in ("CrossAttnDownBlock", "CrossAttnUpBlock", "DownBlock", "UNetMidBlock", "UpBlock")
        ),
        "dwm.models.crossview_temporal_unet.UNetCrossviewTemporalConditionModel",
        "dwm.models.maskgit_base.TemporalTransformerBlock",
        "dwm.models.maskgit_model.BidirectionalTransformerWithAdapter",
        *(
            f"dwm.models.{module}.{name}"
            for module in ("lidar_vae_model", "vae_point_cloud")
            for name in ("PointCloudDecoder", "PointCloudEncoder", "VAEPointCloud", "VariationalModel")
        ),
        "dwm.models.voxelizer.Voxelizer",
        *(
            f"dwm.models.vq_point_cloud.{name}"
            for name in ("SwinTransformerBlock", "VQDecoder", "VQEncoder", "VQPointCloud", "VectorQuantizer")
        ),
        *(f"torch.optim.lr_scheduler.{name}" for name in ("CosineAnnealingLR", "ExponentialLR")),
        "torch.distributed.device_mesh.init_device_mesh",
        *(f"torch.distributed.fsdp.{name}" for name in ("MixedPrecision", "ShardingStrategy", "wrap.ModuleWrapPolicy")),
        *(f"torchvision.transforms.{name}" for name in ("Compose", "Normalize", "Resize", "ToTensor")),
    }
)
"""Every name that OpenDWM's files mention; none of them is ever imported."""
