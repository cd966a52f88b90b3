"""Looking through a pool in a browser: a small local web application (`gdo explore`)."""
