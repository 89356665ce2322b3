//! Which TLS settings and which certificate does a handshake get? rustls configurations, SNI over swapped
//! snapshots, tickets. Performs no handshake and knows no HTTP.
