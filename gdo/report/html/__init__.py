"""`gdo report`: a pool as one HTML file that works offline."""
