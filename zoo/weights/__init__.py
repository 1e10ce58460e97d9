"""Pretrained weights: where they come from, how their files are read, and how their arrays get into a model.

Reading a file executes nothing that the file contains. The modules here know no network: `zoo.models.loading` does.
"""
