"""The way of one picture: cut out what is around the mask, have it filled, put it back softly."""

from __future__ import annotations

from studio_worker import EngineJob
from studio_worker_onnx.model import Model
from studio_worker_onnx.picture import Picture
from studio_worker_onnx.region import Marks, crop_box, feather, frame, shown, taken_back


def remove(picture: Picture, marks: Marks, model: Model, job: EngineJob) -> Picture:
    """The picture without what is marked; where nothing is, the picture as it is, and the model is not asked.

    Outside the mask every pixel keeps its value. Inside it the picture becomes opaque, for what was painted to be seen.

    Args:
        picture: of any size.
        marks: H×W of the same size, true is what to repaint.
        model: what fills.
        job: told how far it is.
    """
    job.progress(1, 4, stage="crop")
    box = crop_box(marks)
    if box is None:
        return picture
    left, top, right, bottom = box
    marked = marks[top:bottom, left:right]
    crop = picture.rgb.crop(box)
    place = frame(crop.size, width=model.layout.width, height=model.layout.height)
    pixels, mask = shown(crop, marked, place)
    job.check_cancelled()
    job.progress(2, 4, stage="inpaint")
    painted = model.paint(pixels, mask, job)
    job.progress(3, 4, stage="paste")
    soft = feather(marked)
    rgb = picture.rgb.copy()
    rgb.paste(taken_back(painted, crop.size, place), box, soft)
    alpha = picture.alpha
    if alpha is not None:
        alpha = alpha.copy()
        alpha.paste(255, box, soft)
    return Picture(rgb, alpha, picture.icc)
