"""Jobs: long work that outlives a call, a worker and the service that accepted it.

    job         the states of a job and the steps between them: plain functions
    files       what a job keeps in the object store: its spec, its progress, its outcome
    launcher    the port to where workers run
    processes   its adapter for local processes
    kubernetes  its adapter for a cluster
    workplace   the one of them that a service's settings name
    kind        what tells one kind of job from another
    reconciler  one job, one step nearer to its end
    rounds      the loop that takes all steps that are due
    controller  which steps of which jobs are due
    worker      the other side: what a worker's `__main__` calls
    api         what the methods of every job service share

A service stores a job as QUEUED. The controller writes down attempt 1 as RUNNING, then starts
its worker; the worker writes progress and, once, an outcome to the object store; the controller
registers the outcome and writes down the end. Every step is written before it is acted on and
may be done twice, so any of the processes may be killed at any instant.

This module imports nothing: workers pass through it before their first line of work.
"""
