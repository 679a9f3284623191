//! What is done with a scan: workers between the ports. Knows tokio and [`crate::scan`], and no vendor.

pub mod port;
