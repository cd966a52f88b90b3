"""Sparrow: long texts with questions become samples whose frames are pictures of the text.

Source: "Sparrow: Data-Efficient Video-LLM with Text-to-Image Augmentation" (arXiv 2411.19951).
"""
