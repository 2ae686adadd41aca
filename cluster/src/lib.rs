//! Tables, queues and topics on one replicated log.
