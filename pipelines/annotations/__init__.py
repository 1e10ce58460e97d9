"""Readers of annotations, one module for each format, and writers of the three formats that most tools read.

    voc      Pascal VOC XML, as LabelImg, CVAT and Roboflow write it          read, write
    yolo     YOLO text, boxes or polygons, with data.yaml or without          read, write
    coco     COCO JSON: boxes, polygons, run lengths                          read, write
    via      VGG Image Annotator JSON, versions 1 and 2                       read
    labelme  LabelMe JSON, one file for each image                            read
    masks    masks of classes, indexed or colour-coded; maps of objects       read
    cvat     CVAT's XML of images, with shapes of several kinds               read
    csv      tables of boxes, with names of columns or without                read
    kitti    KITTI text, one file for each image                              read
    createml    CreateML JSON                                                 read
    openimages  Open Images CSV                                               read
    imglab   dlib's ImgLab XML                                                read

`pipelines.read_scenes` recognises the format of a folder. The readers themselves have arguments for the peculiarities
of their format.

Boxes, outlines and masks refer to the upright image, as today's tools show it. If an annotation states the width and
height of the image as it is stored, lying on its side, the annotation was made without regard to the EXIF orientation.
Then it is turned together with the image. (For images that are upside down or mirrored, the size does not tell. Their
annotations are taken to refer to the upright image.)

This happens to faults, in all formats. Every fault is listed in `Data.faults` with its file and line, and counted by
kind in `Data.counts`; with `strict=True` the first fault is raised as a ValueError.

    missing image      The image does not exist, and its annotation is left out.
    unreadable image   The file is not an image, or its format cannot be read. It is left out.
    other size         The annotation states another width and height than the image has. The image is left out. If
                       only an outline in run lengths has another size, the object is kept as a box. A mask that is
                       smaller or larger by a pixel is kept; what is missing is ignored.
    duplicate          The image is annotated twice. The first annotation counts.
    no annotation      An image, or a line in a list, has no annotation file. It is left out. (In YOLO's layout, an
                       image without a text file is an image without objects, and is kept.)
    not listed         The lists or folders of the splits do not have the annotation, or the file is one of several that
                       nothing tells apart. It is left out.
    broken             The XML or JSON cannot be parsed, and the file is left out. Or an entry does not have the
                       expected contents: then the object is left out, or kept as a box if only its outline is broken.
    encoding           The bytes are not in the encoding that the file states, or not UTF-8. The file is left out.
    refused            The XML declares entities or external references. The file is left out.
    unknown class      The object is left out, and its image is kept.
    not a number       A coordinate is NaN or infinite. The object is left out.
    no area            x2 <= x1 or y2 <= y1. The object is left out.
    outside            The object is completely outside of the image. It is left out.
    label              The label has space around it, which is taken away; or it differs from another one by case,
                       space or the form of Unicode alone; or several classes are ticked, of which the first counts.
                       The object is kept.
    repeated           Objects of one class have the same box. All are kept.
    tiny               All boxes of the image are smaller than a pixel, as fractions of its size are. They are kept.
    clipped            The object is partly outside of the image. Its box is cut at the edge, and its outline is kept.
    edges              Masks have values at edges alone, as anti-aliasing makes them. They are ignored. In lossy files,
                       pixels have the class whose value is nearest.
    no class           All pixels of a mask are to be ignored. The image is left out.
    one class          All pixels of all masks of a split have one class. They are kept; of the training masks, it is an
                       error.
    lossy              (Writers.) The format has no place for some information, which is not written.

An image that loses all its objects is kept as an image without objects. A box that overshoots by at most a hundredth
of a pixel, which rounding to six digits causes, is cut without a fault.
"""
