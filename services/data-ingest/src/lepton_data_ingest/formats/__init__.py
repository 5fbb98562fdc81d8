"""How files of each format become batches of records.
 One module per format. A reader holds one batch in memory, believes no length that a file declares before it
has compared it with the bytes that are there, and counts records from 0 in the order of the file, so that
every later complaint can name its place. What no record can be made of ends the file with `MalformedFile`; a
single bad record becomes a `Fault` and the file goes on.
"""
