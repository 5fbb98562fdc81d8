"""Files in, immutable dataset versions out.
 Two processes share this package. The service (`api`, `uploads`, `adapters`) takes files and keeps resources;
it loads neither numpy nor pyarrow. The worker (`worker`, and `build`, which it calls) turns files into a
version:

    formats  ->  validation  ->  split  ->  shards, transform, statistics  ->  manifest
"""
