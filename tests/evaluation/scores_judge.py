"""Run by the judges' environment, without this package: what torch-fidelity and torchmetrics say of the same pictures and weights.

Argument: a safetensors file with bytes `generated` and `real` [n, 3, h, w]. Inception's weights lie in torch's cache (TORCH_HOME),
where both libraries look before they would download. Prints one JSON object.
"""

import json
import sys

import torch
from safetensors.torch import load_file

# torchvision beside a PyTorch for CPUs alone: its compiled operators are not there, but their declarations are asked for.
library = torch.library.Library("torchvision", "DEF")
for schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio, "
    "bool aligned) -> Tensor",
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, SymInt stride_w, "
    "SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, SymInt offset_groups, "
    "bool use_mask) -> Tensor",
):
    try:
        library.define(schema)
    except RuntimeError:
        break  # this torchvision has them

import torch_fidelity  # noqa: E402
from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: E402


class Pictures(torch.utils.data.Dataset):
    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.pictures[index]


def main(pictures):
    sides = load_file(pictures)
    generated, real = sides["generated"], sides["real"]
    found = torch_fidelity.calculate_metrics(
        input1=Pictures(generated),
        input2=Pictures(real),
        feature_extractor="inception-v3-compat",  # else precision and recall would take VGG
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=20,
        kid_subset_size=min(len(generated), len(real)) - 2,
        cuda=False,
        cache=False,
        verbose=False,
        batch_size=8,
        save_cpu_ram=True,
    )
    metric = FrechetInceptionDistance(feature=2048, normalize=True)
    for part, is_real in ((real, True), (generated, False)):
        for batch in part.split(8):
            metric.update(batch.float() / 255, real=is_real)
    found["torchmetrics_fid"] = float(metric.compute())
    print(json.dumps(found))


main(*sys.argv[1:])
