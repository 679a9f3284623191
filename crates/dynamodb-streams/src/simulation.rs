//! Runs whole readers on a paused clock between simulated ports. All ports share one [`world::World`], which injects faults
//! and checks each write and each handled record.

mod handler;
mod random;
mod scripted;
mod stream;
mod table;
mod world;
