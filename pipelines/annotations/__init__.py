"""Readers of annotations, one module a format, and writers of the three that other tools read most.

    voc      Pascal VOC XML, as LabelImg, CVAT and Roboflow write it          read, write
    yolo     YOLO text, boxes or polygons, with data.yaml or without          read, write
    coco     COCO JSON: boxes, polygons, run lengths                          read, write
    via      VGG Image Annotator JSON, versions 1 and 2                       read
    labelme  LabelMe JSON, one file an image                                  read
    masks    mask PNGs, indexed or colour-coded                               read

`pipelines.read_scenes` recognises which of them a folder holds; the readers themselves take what is peculiar to their
format.

Boxes, outlines and masks are those of the upright image, as today's tools show it. An annotation that states the width
and height of the image as it is stored, lying on its side, was made without regard to the EXIF orientation: then all of
it is turned with the image. (Of images that are upside down or mirrored the size does not tell; they are taken to have
been seen upright.)

What bad input gets, in all of them. Every fault is listed in `Data.faults` with file and line, and counted by
kind in `Data.counts`; with `strict=True` the first is raised as a ValueError.

    missing image      the image is left out
    unreadable image   left out: no image, or of a kind that cannot be read
    other size         left out: the annotation speaks of an image of other width and height; of an outline in run
                       lengths: the object is kept as a box
    duplicate          an image that is annotated twice: the first annotation counts
    no annotation      an image, or a line in a list, without an annotation file: left out (except in YOLO's layout,
                       where an image without text file is one without objects, and is kept)
    not listed         an annotation that no list of a split names: left out
    broken             XML or JSON that does not parse: the file is left out; a part that does not hold what it should:
                       that object is left out, or kept as a box where only its outline is broken
    encoding           bytes that are not what the file says, or not UTF-8: the file is left out
    refused            XML with a DTD's entities or external references: the file is left out
    unknown class      the object is left out, its image kept
    not a number       NaN or infinite coordinates: the object is left out
    no area            x2 <= x1 or y2 <= y1: the object is left out
    outside            wholly outside of the image: the object is left out
    clipped            partly outside: the object is kept, its box cut at the edge; its outline stays as it was
    lossy              (writers) what the format has no place for: written without

An image that loses all its objects is kept, as an image without objects. A box that overshoots by no more than a
hundredth of a pixel is what rounding to six digits does, and is cut without a word.
"""
