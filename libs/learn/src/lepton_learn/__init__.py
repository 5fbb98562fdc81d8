"""What Lepton's workers share: reading dataset versions, fitted transforms, model families and training.

Nothing in here knows a server, a job or a cluster. The modules `schema`, `transform`, `shards`, `manifest`,
`reading` and `keras_config` import no TensorFlow, so that data-ingest and the servicers can use them.
"""
