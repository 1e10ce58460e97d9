"""What a network sees: which parts of an image decide, and what its filters look for.

====================================================  ================================================================
method                                                what it answers
====================================================  ================================================================
`grad_cam`, `grad_cam_plus_plus`                      Which places of a layer's map speak for the answer?
`input_gradients`, `smooth_gradients`,                Which pixels would change the answer?
`integrated_gradients`
`guided_backpropagation`, `deconvolution`             What in the image excites a filter, drawn in the image?
`occlusion_maps`                                      How much does the answer lose when a place is covered?
`feature_maps`, `first_filters`, `as_grid`            What does a layer give, and what are the first filters?
`exciting_images`, `exciting_patches`                 Which image, and which photos, excite a filter most?
`randomisation_check`, `deletion`, `insertion`        Can a map be trusted?
`apply_kernel`                                        What does one kernel do to a photo?
`fast_gradient_sign`, `projected_gradient_descent`    Which small change fools the network?
====================================================  ================================================================

All of them take any Keras model with a graph (see `zoo.surgery.flattening.flat`) and images in 0..255, and work on
batches. What is explained is a `target`: a function from the outputs of the model to one score for each image. There
are ready ones for classes, numbers, boxes and the pixels of masks in `zoo.explain.targets`.

The public names are listed in `zoo/explain/__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
