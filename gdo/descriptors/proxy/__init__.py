"""The self-proxy: a tiny probe model, trained from scratch on the pool that it is then asked about."""
