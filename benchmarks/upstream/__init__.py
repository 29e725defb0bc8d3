"""The upstream: pre-rendered answers behind a loop over epoll, in a process and on a core of its own."""
