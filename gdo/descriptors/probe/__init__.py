"""The probe: a vision-language model asked about every sample, once per media."""
