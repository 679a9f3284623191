//! The shipped registry with a simulated store, on a paused clock. The store meets every fault that DynamoDB and the network can
//! have, and knows which operation wrote what.

mod calls;
mod checks;
mod random;
mod store;
mod world;
