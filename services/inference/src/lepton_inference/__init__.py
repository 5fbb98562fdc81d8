"""The inference service: serves what endpoints say, over the Open Inference Protocol.

It owns nothing. The registry says which model versions answer under which names
(`follower`), the files come out of the object store (`artifacts`), a version is
loaded, checked and warmed up (`model`) before it takes over (`repository`), and the
requests that come together run together (`batcher`).
"""
