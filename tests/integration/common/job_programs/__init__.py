"""Small programs that the tests of jobs start as real processes."""
