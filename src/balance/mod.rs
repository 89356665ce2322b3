//! Which upstream server is next, and what does an outcome say about its health? Plain functions over plain state:
//! no I/O, no clock, no dice of their own.
