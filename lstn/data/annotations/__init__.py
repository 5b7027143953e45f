"""Annotations of objects in image files, as other tools write them: COCO's JSON, YOLO's text, Pascal VOC's XML."""
