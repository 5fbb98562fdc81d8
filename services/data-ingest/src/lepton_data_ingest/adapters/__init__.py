"""What the service keeps: datasets, uploads and versions in the resource store, their bytes in the object
store."""
